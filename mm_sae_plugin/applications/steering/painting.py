"""`Painter`: one prompt drawn by a pipeline, edited or as it is, always from the same noise."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.pipelines import find_site, steer_pipeline
from mm_sae_plugin.interventions.pipelines.sites import decoder_of, denoiser_of
from mm_sae_plugin.interventions.schedule import checked_strength
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
            If there is none, it lacks parts, or it cannot be steered by this study.
        """
        from mm_sae_plugin.applications.steering.run import check_encoder_of_generator

        # Its classes must be known before a folder of theirs is loaded.
        from mm_sae_plugin.factorworld.generator import load_generator

        if pipeline is not None:
            return cls(study, _loaded(pipeline, study.device))
        check_encoder_of_generator(study)
        return cls(study, load_generator().to(study.device))

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
            If the prompt is empty, the seed or strength is no such number, the edit is of another
            SAE or encoder, or memory runs out. The hooks are gone all the same.
        """
        refuse_empty(prompt)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= _MOST_SEED:
            raise UserError(f"seed must be a whole number, 0 or more, not {seed!r:.40}.")
        checked_strength(strength)
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
            What the edit is multiplied by.
        **how
            Further arguments of :meth:`paint`.

        Yields
        ------
        strength, painted
        """
        for strength in strengths:
            yield strength, self.paint(prompt, seed, edit, strength=strength, **how)

    def _draw(self, prompt: str, seed: int) -> Image:
        asked: dict[str, Any] = {"prompt": prompt} if "prompt" in self._call else {}
        # On the CPU, so that every device draws from the same noise.
        asked["generator"] = torch.Generator().manual_seed(seed)
        return self.pipeline(**asked, **self.settings).images[0]

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


def _loaded(pipeline: str | Path, device: str) -> Any:
    """A pipeline by its folder or its name at Hugging Face, on a study's device."""
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    if Path(pipeline).exists() and not (Path(pipeline) / "model_index.json").is_file():
        raise UserError(
            f"There is no pipeline in {pipeline}: give a folder with a model_index.json."
        )
    dtype = torch.float32 if torch.device(device).type == "cpu" else torch.float16
    try:
        loaded = DiffusionPipeline.from_pretrained(pipeline, dtype=dtype)
    # What a folder that lacks a part, or a name that is none, ends in depends on the part.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
        raise UserError(
            f"The pipeline {pipeline} could not be loaded ({reason:.300}): give a folder that "
            "save_pretrained wrote, or the name of one at Hugging Face that was fetched before."
        ) from error
    loaded.set_progress_bar_config(disable=True)
    return loaded.to(device)


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
