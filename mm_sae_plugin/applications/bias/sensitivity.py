"""How far gaps hang on what they should not: the wording of prompts, and the background.

Published scores of bias move by tens of percent with either. A small gap moves by a large share of
itself; what a change makes of the gap stands beside the share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from mm_sae_plugin.applications.bias.contrast import Gaps, pooled
from mm_sae_plugin.applications.bias.embedding import embed_pictures
from mm_sae_plugin.applications.bias.evidence import Evidence
from mm_sae_plugin.applications.bias.prompts import PromptSet
from mm_sae_plugin.applications.bias.twins import GENDER, draw_twins

if TYPE_CHECKING:
    from PIL.Image import Image

    from mm_sae_plugin.models import HookedCLIP

BLURS = (0.03, 0.1)
"""Radius of the blur around the middle of a picture, over its shorter side."""
TEXTURES = ("ground", "backdrop", "pattern")
"""Factors of FactorWorld's backgrounds; the captions mention them now and then."""
_INNER = (0.7, 0.95)
"""Width and height of the ellipse that stays sharp, over the picture's."""
_BATCH = 64


@dataclass(frozen=True)
class TemplateSpread:
    """The summary of the gaps with each prompt template alone."""

    by_template: dict[str, float]
    """Template to the summary."""
    least: float
    """The smallest of them."""
    greatest: float
    """The largest."""
    same_sign: float | None
    """Share of the templates whose signed gap has the sign of the whole; None where no direction
    is stated, since sizes have no sign."""
    same_sign_targets: float
    """Share of all gaps, of one target with one template, with the sign of that target's gap."""


@dataclass(frozen=True)
class Changed:
    """The same pictures with another background."""

    name: str
    """What was changed, such as `blur around the middle, 3% of the shorter side`."""
    summary: float
    """Of the gaps after it."""
    relative: float | None
    """Its change over the size of the whole; None where the whole is 0."""
    gaps: Gaps
    """Target to the gap, in logits."""


@dataclass(frozen=True)
class Sensitivity:
    """How far the summary of the gaps moves."""

    whole: float
    """With all templates and the pictures as they are: the signed gap where a direction is stated,
    else the mean of the gaps' sizes."""
    gaps: Gaps
    """Target to the gap, in logits."""
    templates: TemplateSpread
    """With one template at a time."""
    changes: list[Changed]
    """With other backgrounds."""


def sensitivity_of_twins(
    model: HookedCLIP, prompts: PromptSet, n_per_target: int = 25
) -> Sensitivity:
    """Measure on twins of FactorWorld, whose background can be blurred and drawn anew.

    For each factor of the background, both of every pair are drawn again with its next value, so
    that they stay twins.

    Parameters
    ----------
    model : HookedCLIP
        One that knows FactorWorld.
    prompts : PromptSet
        For all occupations.
    n_per_target : int
        Pairs for each occupation.
    """
    twins = draw_twins(GENDER, n_per_target)
    pictures = [*twins.first, *twins.second]
    evidence = Evidence.of_twins(model, twins, prompts)
    found = sensitivity_of_images(model, evidence, prompts, pictures.__getitem__)
    redrawn = []
    for factor in TEXTURES:
        other = draw_twins(GENDER, n_per_target, redrawn=factor)
        images = embed_pictures(model, [*other.first, *other.second])
        redrawn.append(_changed(f"another {factor}", evidence, images, found.whole))
    return replace(found, changes=found.changes + redrawn)


def sensitivity_of_images(
    model: HookedCLIP,
    evidence: Evidence,
    prompts: PromptSet,
    open_image: Callable[[int], Image],
    blurs: Sequence[float] = BLURS,
    progress: bool = False,
) -> Sensitivity:
    """Measure on any pictures, whose surroundings are blurred.

    Where the person ends is not known: what lies outside a centred ellipse is taken for the
    background, 70% as wide and 95% as high as the picture. On pictures that are framed otherwise
    the blur also reaches the person, and some background stays sharp.

    Parameters
    ----------
    model : HookedCLIP
    evidence : Evidence
        Its images are those of the pictures, as they are.
    prompts : PromptSet
        That its prompts are of.
    open_image : callable
        Number of an image of the evidence to its picture, in RGB.
    blurs : sequence of float
        Radii, over the shorter side.
    progress : bool
        Show a bar.
    """
    gaps = evidence.gaps()
    whole = evidence.summary(gaps)
    blurred = _blurred(model, len(evidence.group), open_image, blurs, progress)
    changes = [
        _changed(
            f"blur around the middle, {radius:.0%} of the shorter side", evidence, images, whole
        )
        for radius, images in zip(blurs, blurred, strict=True)
    ]
    return Sensitivity(whole, gaps, _of_templates(evidence, prompts, gaps), changes)


def blurred_around(picture: Image, radius: float) -> Image:
    """Blur what lies outside the ellipse in the middle of a picture.

    Parameters
    ----------
    picture : Image
        RGB.
    radius : float
        Of the blur, over the shorter side; 0 leaves the picture as it is.
    """
    from PIL import Image, ImageDraw, ImageFilter

    width, height = picture.size
    inner = Image.new("L", picture.size)
    left, top = (side * (1 - share) / 2 for side, share in zip(picture.size, _INNER, strict=True))
    ImageDraw.Draw(inner).ellipse((left, top, width - 1 - left, height - 1 - top), fill=255)
    blur = ImageFilter.GaussianBlur(radius * min(width, height))
    return Image.composite(picture, picture.filter(blur), inner)


@torch.no_grad()
def _blurred(
    model: HookedCLIP,
    n: int,
    open_image: Callable[[int], Image],
    blurs: Sequence[float],
    progress: bool,
) -> list[Float[Tensor, "n d"]]:
    """Embed all pictures with each blur; each is opened once, and few are held at a time."""
    parts: list[list[Tensor]] = [[] for _ in blurs]
    for at in tqdm(range(0, n, _BATCH), "blurring", disable=not progress, unit="batch"):
        pixels: list[list[Tensor]] = [[] for _ in blurs]
        for row in range(at, min(at + _BATCH, n)):
            picture = open_image(row)
            for radius, batch in zip(blurs, pixels, strict=True):
                batch.append(model.to_pixels([blurred_around(picture, radius)]))
        for part, batch in zip(parts, pixels, strict=True):
            part.append(model.encode_image(torch.cat(batch), normalize=True).float().cpu())
    return [torch.cat(part) for part in parts]


def _changed(name: str, evidence: Evidence, images: Float[Tensor, "n d"], whole: float) -> Changed:
    gaps = evidence.gaps(images)
    summary = evidence.summary(gaps)
    return Changed(name, summary, (summary - whole) / abs(whole) if whole else None, gaps)


def _of_templates(evidence: Evidence, prompts: PromptSet, whole: Gaps) -> TemplateSpread:
    contrast = evidence.contrast
    # A target's prompts are template after template, each with all of its words.
    by_target = {
        name: evidence.texts[name].unflatten(0, (len(prompts.templates), -1))
        for name in contrast.targets
    }
    found = {}
    for at, template in enumerate(prompts.templates):
        rows = [by_target[name][at] for name in contrast.targets]
        means = pooled(torch.cat(rows), [len(of_target) for of_target in rows])
        found[template] = contrast.gaps(evidence.images, means)
    summaries = {template: evidence.summary(gaps) for template, gaps in found.items()}
    same = [np.sign(gaps[name]) == np.sign(whole[name]) for gaps in found.values() for name in gaps]
    is_signed = {evidence.direction.get(name) for name in whole} >= {1, -1}
    sign = np.sign(evidence.summary(whole))
    return TemplateSpread(
        summaries,
        min(summaries.values()),
        max(summaries.values()),
        float(np.mean([np.sign(one) == sign for one in summaries.values()])) if is_signed else None,
        float(np.mean(same)),
    )
