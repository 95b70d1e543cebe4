"""A Kandinsky 2.2 pipeline as what an evaluation draws with: first the prior, then the decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mm_sae_plugin.applications.steering.arms import Vectors

if TYPE_CHECKING:
    from diffusers.pipelines.kandinsky2_2.pipeline_kandinsky2_2_combined import (
        KandinskyV22CombinedPipeline,
    )

_BATCH = 40


class KandinskyDrawing:
    """Embeds prompts with the prior, and draws vectors with the decoder, each from its own seed.

    Parameters
    ----------
    pipeline : KandinskyV22CombinedPipeline
    settings : dict
        Arguments of the pipeline's call: steps and guidance of both parts, height and width.
    """

    def __init__(self, pipeline: KandinskyV22CombinedPipeline, settings: dict[str, Any]) -> None:
        pipeline.set_progress_bar_config(disable=True)
        self._prior, self._decoder = pipeline.prior_pipe, pipeline.decoder_pipe
        for part in (self._prior, self._decoder):
            part.set_progress_bar_config(disable=True)
        start = "prior_"
        self._of_prior = {
            name.removeprefix(start): value
            for name, value in settings.items()
            if name.startswith(start)
        }
        self._of_decoder = {n: v for n, v in settings.items() if not n.startswith(start)}

    @torch.no_grad()
    def embeddings(self, prompts: Sequence[str], seeds: Sequence[int]) -> Vectors:
        """Return the prior's image vector of each prompt, on the CPU."""
        parts: list[Tensor] = []
        for part in _parts(len(prompts)):
            chances = _chances(seeds[part])
            found: Any = self._prior(list(prompts[part]), generator=chances, **self._of_prior)
            parts.append(found.image_embeds)
        return torch.cat(parts).float().cpu()

    @torch.no_grad()
    def draw(self, vectors: Vectors, seeds: Sequence[int]) -> UInt8[np.ndarray, "n 64 64 3"]:
        """Return a picture of each vector; what is not wanted is a vector of zeros."""
        unet, pictures = self._decoder.unet, []
        for part in _parts(len(vectors)):
            wanted = vectors[part].to(unet.device, unet.dtype)
            drawn: Any = self._decoder(
                image_embeds=wanted,
                negative_image_embeds=torch.zeros_like(wanted),
                generator=_chances(seeds[part]),
                **self._of_decoder,
            )
            pictures += [np.asarray(picture) for picture in drawn.images]
        return np.stack(pictures)


def _parts(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _BATCH, n)) for start in range(0, n, _BATCH))


def _chances(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]
