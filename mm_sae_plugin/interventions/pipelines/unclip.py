"""Stable unCLIP: the clean embedding is edited, and only what moved reaches the noised one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.routes import InputRoute, Pass, Undo
from mm_sae_plugin.interventions.pipelines.guidance import Guidance
from mm_sae_plugin.interventions.pipelines.watching import watch

_LEAST_KEPT = 0.01
"""Share of the embedding that a noise level must leave for an edit to be seen."""


class CleanEmbedding:
    """What Stable unCLIP noises before it hands it to its UNet.

    A noised embedding is no vector that an SAE could read. The pipeline's noise is affine: it
    multiplies by some ``kept`` what the embedding moves by. So the clean embedding is read where
    it is noised, edited at every step, and the step's input moved by ``kept`` times as much.

    Parameters
    ----------
    pipeline
        A ``StableUnCLIPImg2ImgPipeline``.
    guidance
        Whether its batches are doubled.
    """

    def __init__(self, pipeline: Any, guidance: Guidance) -> None:
        self._pipeline, self._guidance = pipeline, guidance
        self._clean: Tensor | None = None
        self._kept = 1.0

    def attach(self, through: Pass) -> Callable[[], None]:
        """Pass the clean embedding through an edit until the returned function is called."""
        unwatch = watch(self._pipeline, "noise_image_embeddings", self._note)
        route = InputRoute("", item="class_labels")
        unroute: Undo = route.install(
            self._pipeline.unet, lambda labels: self._moved(labels, through)
        )

        def undo() -> None:
            unroute()
            unwatch()

        return undo

    def _note(self, arguments: Mapping[str, Any]) -> None:
        level = int(arguments["noise_level"])
        one, none = torch.ones(1, 1), torch.zeros(1, 1)
        scheduler = self._pipeline.image_noising_scheduler
        kept = float(scheduler.add_noise(one, none, torch.tensor([level])))
        if kept < _LEAST_KEPT:
            raise UserError(
                f"noise_level={level} leaves {kept:.2%} of the image's embedding, which erases the "
                "edit with it: give a lower noise_level."
            )
        self._clean, self._kept = arguments["image_embeds"], kept

    def _moved(
        self, labels: Float[Tensor, "batch twice_d"], through: Pass
    ) -> Float[Tensor, "batch twice_d"]:
        assert self._clean is not None
        n_rows = len(labels) // 2 if self._guidance.is_on else len(labels)
        clean = self._clean.repeat_interleave(n_rows // len(self._clean), dim=0)
        if self._guidance.is_on:
            clean = torch.cat([torch.zeros_like(clean), clean])
        edited = through(clean)
        if edited is clean:
            return labels
        moved = labels.clone()
        moved[:, : clean.shape[1]] += (self._kept * (edited - clean)).to(labels.dtype)
        return moved
