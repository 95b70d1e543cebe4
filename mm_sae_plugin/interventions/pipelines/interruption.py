"""Stopping a generation in its middle, from another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from mm_sae_plugin.errors import UserError, kind_of

_DENOISERS = ("unet", "transformer", "prior", "prior_prior")


class Interruption:
    """A wish to stop, which any thread may utter."""

    def __init__(self) -> None:
        self.happened = False
        """Whether a generation was stopped."""
        self._asked = threading.Event()

    def stop(self) -> None:
        """Stop before the next denoising step; the rest of the block is left out."""
        self._asked.set()

    def check(self, *_: Any) -> None:
        """Raise what ends the block, if somebody asked."""
        if self._asked.is_set():
            raise _Interrupted(self)


class _Interrupted(Exception):
    def __init__(self, interruption: Interruption) -> None:
        super().__init__("the generation was stopped")
        self.interruption = interruption


@contextmanager
def interruptible(pipeline: Any) -> Iterator[Interruption]:
    """Let :meth:`Interruption.stop` end a generation before its next step.

    Kandinsky has no interrupt of its own, and others only look at theirs between steps of one loop;
    this one stops the prior, too. The block is left where it stood, without an exception, and
    ``happened`` says so. Put it outside of other blocks::

        with interruptible(pipeline) as interruption, steer_pipeline(pipeline, study, edit):
            pictures = pipeline("two red cars").images    # stopped by interruption.stop()

    Parameters
    ----------
    pipeline
        Any pipeline of diffusers with a denoiser.

    Yields
    ------
    Interruption
        Its ``stop`` may be called from any thread, also before the first step.

    Raises
    ------
    UserError
        If the pipeline has no denoiser.
    """
    parts = [getattr(pipeline, name, None) for name in _DENOISERS]
    denoisers = [part for part in parts if isinstance(part, nn.Module)]
    if not denoisers:
        raise UserError(
            f"{kind_of(pipeline).capitalize()} has no denoiser to stop: give a pipeline of "
            "diffusers."
        )
    interruption = Interruption()
    with ExitStack() as hooks:
        for denoiser in denoisers:
            hooks.callback(denoiser.register_forward_pre_hook(interruption.check).remove)
        try:
            yield interruption
        except _Interrupted as stopped:
            if stopped.interruption is not interruption:
                raise
            interruption.happened = True
            _free(pipeline)


def _free(pipeline: Any) -> None:
    """Do what a pipeline does at its end: send what is offloaded back."""
    for part in (pipeline, *(getattr(pipeline, n, None) for n in ("prior_pipe", "decoder_pipe"))):
        free = getattr(part, "maybe_free_model_hooks", None)
        if free is not None:
            free()
