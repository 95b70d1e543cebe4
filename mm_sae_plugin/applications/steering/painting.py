"""`Painter`: one prompt drawn by a pipeline, edited or as it is, always from the same noise."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mm_sae_plugin.applications.steering.identity import pipeline_identity
from mm_sae_plugin.applications.steering.loading import load_pipeline
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.pipelines import find_site, steer_pipeline
from mm_sae_plugin.interventions.pipelines.encoder import check_pipeline_encoder
from mm_sae_plugin.interventions.pipelines.sites import decoder_of, denoiser_of
from mm_sae_plugin.interventions.schedule import Schedule, checked_strength
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.given import refuse_empty

if TYPE_CHECKING:
    from PIL.Image import Image

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
"""What a sweep multiplies an edit by."""
_N_MOVED = 5
_MOST_SEED = 2**63 - 1
_PICTURES = ("image", "ip_adapter_image")
# How allocators of the CPU say it; that of CUDA has an exception of its own.
_NO_MEMORY = ("can't allocate memory", "not enough memory")

OnStep = Callable[[int, int], None]
"""(denoising steps begun, of how many in all), those of a prior included."""


@dataclass(frozen=True)
class Painted:
    """A picture, and how far its vector was moved."""

    picture: Image
    moved: float
    """Mean |Δe| / |e| over the steps that were edited; 0 where none was."""
    latents: list[tuple[int, float]]
    """Latents by how far their codes moved, those moved most first."""
    steps: list[int]
    """Steps that were edited."""


class Painter:
    """Draws prompts with a pipeline of diffusers.

    Parameters
    ----------
    study : Study
        Of the pipeline's encoder.
    pipeline
        One that draws from a prompt.
    settings : mapping, optional
        Further arguments of its call, beside those that the embedded generator is made for; a
        pipeline that starts from a picture is given it here.

    Raises
    ------
    UserError
        If it has no place where a joint vector could be edited, or needs more than a prompt.
    """

    def __init__(
        self, study: Study, pipeline: Any, settings: Mapping[str, Any] | None = None
    ) -> None:
        from mm_sae_plugin.factorworld.generator import DEFAULTS, LayoutUNet

        self.study, self.pipeline = study, pipeline
        self.is_embedded = isinstance(getattr(decoder_of(pipeline), "unet", None), LayoutUNet)
        """Whether it is FactorWorld's small generator, or one like it."""
        own = DEFAULTS if self.is_embedded else {}
        self.settings: dict[str, Any] = {**own, **(settings or {})}
        """Arguments of every call."""
        self._call = inspect.signature(type(pipeline).__call__).parameters
        site = find_site(pipeline)
        starts_from_picture = site.modality == "image" and site.name != "kandinsky"
        if starts_from_picture and not set(_PICTURES) & set(self.settings):
            raise UserError(
                f"{type(pipeline).__name__} starts from a picture, and here is only a prompt: give "
                "the picture in settings, or a pipeline that draws from a prompt."
            )
        if "prompt" not in self._call and not starts_from_picture:
            raise UserError(
                f"{type(pipeline).__name__} is only a part, and takes no prompt: give the combined "
                "pipeline."
            )
        self.denoiser = denoiser_of(pipeline)

    @classmethod
    def open(cls, study: Study, pipeline: str | Path | None = None) -> Painter:
        """Load a pipeline by its name or folder, by default the embedded generator.

        Raises
        ------
        UserError
            If there is none, it lacks parts or weights, or it cannot be steered by this study.
        """
        from mm_sae_plugin.applications.steering.run import check_encoder_of_generator
        from mm_sae_plugin.factorworld.generator import load_generator

        if pipeline is not None:
            loaded = load_pipeline(pipeline, study.device)
            painter = cls(study, loaded)
            # Before anything is drawn, the first picture being one without an edit.
            device = torch.device(study.device)
            check_pipeline_encoder(study, find_site(loaded), loaded, None, device)
            return painter
        check_encoder_of_generator(study)
        return cls(study, load_generator().to(study.device))

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Which pipeline it is, for a manifest; see :func:`pipeline_identity`."""
        return pipeline_identity(self.pipeline)

    @property
    def n_decoder_steps(self) -> int:
        """Denoising steps of the picture, within which a window of steps lies."""
        return self._n_steps("num_inference_steps")

    @property
    def n_steps(self) -> int:
        """Denoising steps in all, those of a prior included."""
        return self.n_decoder_steps + self._n_steps("prior_num_inference_steps")

    def paint(
        self,
        prompt: str,
        seed: int,
        edit: FeatureEdit | None = None,
        *,
        strength: float = 1.0,
        steps: tuple[int, int | None] = (0, None),
        on_step: OnStep | None = None,
    ) -> Painted:
        """Draw a prompt; the same seed is the same noise, whatever the edit.

        Parameters
        ----------
        prompt : str
        seed : int
            0 or more.
        edit : FeatureEdit, optional
            By default none.
        strength : float
            What the edit is multiplied by.
        steps : (start, stop)
            Window of denoising steps in which it acts; None is no end.
        on_step : function, optional
            Is told of each denoising step when it begins.

        Raises
        ------
        UserError
            If the prompt is empty, the seed or strength is no such number, no step lies within the
            window, the edit is of another SAE or encoder or moves the vector beyond all numbers,
            or memory runs out. The hooks are gone all the same.
        """
        prompt, seed = _checked_prompt(prompt), _checked_seed(seed)
        # Also without an edit, so that what is wrong is told whatever is drawn.
        strength = checked_strength(strength)
        self._check_window(Schedule.of(steps, 1, strength).start)
        with ExitStack() as block, _memory_told():
            block.enter_context(self._steps_told(on_step))
            record = None
            if edit is not None:
                steering = steer_pipeline(
                    self.pipeline, self.study, edit, steps=steps, strength=strength
                )
                record = block.enter_context(steering)
            picture = self._draw(prompt, seed)
        if record is None:
            return Painted(picture, 0.0, [], [])
        return Painted(
            picture, record.mean_relative_norm, record.most_moved(_N_MOVED), record.steps
        )

    def sweep(
        self,
        prompt: str,
        seed: int,
        edit: FeatureEdit,
        strengths: Sequence[float] = STRENGTHS,
        **how: Any,
    ) -> Iterator[tuple[float, Painted]]:
        """Draw a prompt at each strength of an edit, from the same noise, one after the other.

        Parameters
        ----------
        prompt, seed, edit
            As for :meth:`paint`.
        strengths : sequence of float
            What the edit is multiplied by; all are checked before the first picture.
        **how
            Further arguments of :meth:`paint`.

        Yields
        ------
        strength, painted
        """
        for strength in [checked_strength(strength) for strength in strengths]:
            yield strength, self.paint(prompt, seed, edit, strength=strength, **how)

    def _draw(self, prompt: str, seed: int) -> Image:
        from mm_sae_plugin.factorworld.generator import NO_CALLBACK

        asked: dict[str, Any] = {"prompt": prompt} if "prompt" in self._call else {}
        # On the CPU, so that every device draws from the same noise.
        if "callback_steps" in self._call and decoder_of(self.pipeline) is not self.pipeline:
            asked |= NO_CALLBACK
        asked["generator"] = torch.Generator().manual_seed(seed)
        # Where an edit overflows, the picture is made of it before that is told.
        with np.errstate(invalid="ignore"):
            return self.pipeline(**asked | self.settings).images[0]

    def _check_window(self, start: int) -> None:
        if start >= self.n_decoder_steps:
            raise UserError(
                f"The window begins with step {start}, and the picture has {self.n_decoder_steps} "
                "steps, numbered from 0: begin it earlier."
            )

    def _n_steps(self, name: str) -> int:
        parameter = self._call.get(name)
        return 0 if parameter is None else int(self.settings.get(name, parameter.default))

    @contextmanager
    def _steps_told(self, on_step: OnStep | None) -> Iterator[None]:
        if on_step is None:
            yield
            return
        n_begun, n_steps = 0, self.n_steps

        def begin(*_: Any) -> None:
            nonlocal n_begun
            # A scheduler of higher order asks the denoiser more than once a step.
            n_begun = min(n_begun + 1, n_steps)
            on_step(n_begun, n_steps)

        parts = [self.denoiser, getattr(self.pipeline, "prior_prior", None)]
        with ExitStack() as hooks:
            for part in parts:
                if isinstance(part, nn.Module):
                    hooks.callback(part.register_forward_pre_hook(begin).remove)
            yield


def _checked_prompt(prompt: Any) -> str:
    if not isinstance(prompt, str):
        raise UserError(f"prompt must be a str, not {kind_of(prompt)}.")
    refuse_empty(prompt, "prompt")
    return prompt


def _checked_seed(seed: Any) -> int:
    """Whole numbers of any library are taken, and True and False are none."""
    try:
        number = -1 if isinstance(seed, bool) else operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number <= _MOST_SEED:
        raise UserError(f"seed must be a whole number, 0 or more, not {seed!r:.40}.")
    return number


@contextmanager
def _memory_told() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not is_memory and not any(said in str(error) for said in _NO_MEMORY):
            raise
        raise UserError(
            "The memory did not suffice for this picture: close what else uses it, or draw smaller "
            "pictures."
        ) from error
