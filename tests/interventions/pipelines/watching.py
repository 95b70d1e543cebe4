"""What a denoiser is given, and what may hang on a pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from mm_sae_plugin.hooks.inspection import has_hooks
from mm_sae_plugin.interventions.pipelines.sites import decoder_of, denoiser_of
from tests.interventions.pipelines.tiny import Case


@contextmanager
def given_to(pipeline: Any, case: Case) -> Iterator[list[Tensor]]:
    """Note the conditioning tensor of every step, as the denoiser finds it."""
    seen: list[Tensor] = []

    def note(module: nn.Module, args: tuple, kwargs: dict) -> None:
        seen.append(case.read(kwargs).clone())

    handle = denoiser_of(pipeline).register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def is_untouched(pipeline: Any) -> bool:
    """Whether nothing of ours hangs on a pipeline."""
    decoder = decoder_of(pipeline)
    owners = (decoder, decoder.scheduler)
    names = ("set_timesteps", "_encode_image", "noise_image_embeddings")
    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    return not any(name in vars(owner) for owner in owners for name in names) and not any(
        has_hooks(part) for part in parts
    )
