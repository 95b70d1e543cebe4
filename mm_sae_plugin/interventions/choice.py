"""Which latents: by index, by class, by concept, or by a mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.given import checked_latents


@dataclass(frozen=True)
class Choice:
    """One way to say which latents; the others are None."""

    latents: Any = None
    """Index, or several."""
    classes: Any = None
    """Modality class, or several."""
    concepts: Any = None
    """A latent, or several, with all latents that are one concept with it."""
    mask: Any = None
    """A boolean for every latent."""

    @classmethod
    def of(cls, which: Mapping[str, Any]) -> Choice:
        """Read the keyword arguments of an edit's maker.

        Raises
        ------
        UserError
            If there is not exactly one, or an unknown one.
        """
        names = [field.name for field in fields(cls)]
        given = [name for name, value in which.items() if value is not None]
        if len(given) != 1 or given[0] not in names:
            told = ", ".join(given) or "none"
            raise UserError(
                f"Say which latents in one way, {', '.join(f'{n}=…' for n in names)}; got {told}."
            )
        return cls(**{given[0]: which[given[0]]})


def chosen_latents(study: Study, choice: Choice) -> tuple[int, ...]:
    """Return the latents that are meant, ascending, each once.

    Raises
    ------
    UserError
        If there is no such latent or class, a class has no latents, or a mask is of another length.
    """
    n_features = study.feature_map.n_features
    if choice.mask is not None:
        return _by_mask(choice.mask, n_features)
    if choice.classes is not None:
        return _by_class(study, choice.classes)
    given = choice.latents if choice.concepts is None else choice.concepts
    latents = checked_latents(given, n_features)
    if choice.concepts is None:
        return latents
    carried = study.labels.carried
    if carried is None:
        raise UserError(
            f"The labels in {study.path} know no concepts: run `mm-sae mds` on it again."
        )
    named = carried.concept[list(latents)]
    return tuple(torch.isin(carried.concept, named).nonzero()[:, 0].tolist())


def typical_codes(study: Study, latents: tuple[int, ...]) -> tuple[float, ...]:
    """Return each latent's typical activation: its mean code where it fires on its own side.

    Raises
    ------
    UserError
        If one never fired on the store.
    """
    stats = study.labels.statistics
    image, fires_image = stats.channel("image"), stats.channel("fires_image")
    text, fires_text = stats.channel("text"), stats.channel("fires_text")
    on_image = image >= text
    total, fires = (
        torch.where(on_image, image, text),
        torch.where(on_image, fires_image, fires_text),
    )
    silent = [latent for latent in latents if fires[latent] == 0]
    if silent:
        raise UserError(
            f"Latent {silent[0]} never fired on the store, so it has no typical activation: give "
            "the amount in activations, unit='code', or leave it out."
        )
    return tuple((total / fires.clamp_min(1))[list(latents)].tolist())


def _by_mask(mask: Any, n_features: int) -> tuple[int, ...]:
    try:
        mask = torch.as_tensor(mask)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"mask must hold a boolean for every latent, not {kind_of(mask)}."
        ) from error
    if mask.dtype != torch.bool or mask.shape != (n_features,):
        raise UserError(
            f"mask must hold a boolean for each of the {n_features:,} latents; got "
            f"{tuple(mask.shape)} of {mask.dtype}."
        )
    latents = tuple(mask.nonzero()[:, 0].tolist())
    if not latents:
        raise UserError("The mask leaves no latent to edit.")
    return latents


def _by_class(study: Study, classes: Any) -> tuple[int, ...]:
    names = [classes] if isinstance(classes, str) else classes
    if not isinstance(names, Iterable):
        raise UserError(f"classes must be a class or several, not {kind_of(classes)}.")
    names = list(names)
    if not names:
        raise UserError(f"No class was given: give one or several of {', '.join(CLASSES)}.")
    for name in names:
        if name not in CLASSES:
            raise UserError(f"There is no class {name!r:.40}: choose of {', '.join(CLASSES)}.")
    latents = sorted({latent for name in names for latent in study.labels.latents(name)})
    if not latents:
        raise UserError(f"No latent of {study.path} is {' or '.join(names)}: nothing to edit.")
    return tuple(latents)
