"""`steer_pipeline`: an edit of the joint vector that conditions a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.routes import InputRoute
from mm_sae_plugin.interventions.applied import AppliedEdit, check_parts
from mm_sae_plugin.interventions.edit import FeatureEdit
from mm_sae_plugin.interventions.ending import check_ending
from mm_sae_plugin.interventions.passing import Half, Passing, check_half
from mm_sae_plugin.interventions.pipelines.adapters import refuse_no_picture
from mm_sae_plugin.interventions.pipelines.caches import refuse_caches
from mm_sae_plugin.interventions.pipelines.encoder import check_pipeline_encoder
from mm_sae_plugin.interventions.pipelines.guidance import Guidance
from mm_sae_plugin.interventions.pipelines.sites import decoder_of, denoiser_of, find_site
from mm_sae_plugin.interventions.pipelines.unclip import CleanEmbedding
from mm_sae_plugin.interventions.pipelines.watching import watch
from mm_sae_plugin.interventions.record import EditRecord
from mm_sae_plugin.interventions.schedule import Schedule, Strength
from mm_sae_plugin.study import Study


@contextmanager
def steer_pipeline(
    pipeline: Any,
    study: Study,
    edit: FeatureEdit,
    *,
    half: Half = "cond",
    steps: tuple[int, int | None] = (0, None),
    strength: Strength = 1.0,
    site: str | None = None,
    encoder: nn.Module | None = None,
) -> Iterator[EditRecord]:
    """Edit the joint vector that conditions a pipeline's pictures, until the block ends.

    The vector is edited where the denoiser takes it, at every step anew, so a window of steps works
    and step 0 is reached. Which argument that is, in which pipelines, is in
    :data:`~mm_sae_plugin.interventions.pipelines.EDIT_SITES`. What :func:`steer` promises holds:
    the empty edit changes no bit, the host never waits for the device in a step, blocks nest, and
    the hooks are gone at the end, whatever happens. Every call of the pipeline counts its steps
    from 0.

    Parameters
    ----------
    pipeline
        A pipeline of diffusers: Kandinsky 2.2, Stable unCLIP, image variation, SDXL (its pooled
        text embedding), Stable Diffusion or SDXL with a base IP-Adapter.
    study : Study
        The SAE, and what belongs to it. It must be of the pipeline's own encoder.
    edit : FeatureEdit
        What to do with its codes.
    half : Half
        Under classifier-free guidance: the conditional half, ``"uncond"``, or ``"both"``. Without
        guidance all rows are conditional.
    steps : (start, stop)
        Window of denoising steps, as the pipeline's loop counts them; None is no end.
    strength : float, sequence or function
        How far to go, 0 to 1 or more: one number, one a step (the last one stays), or a function of
        the step.
    site : str, optional
        Which of several places: an SDXL with an IP-Adapter has ``"ip_adapter"`` (by default) and
        ``"pooled_text"``.
    encoder : nn.Module, optional
        Where the pipeline is given ready embeddings, as Kandinsky's decoder is: what made them,
        ``prior.image_encoder``, to be checked against the SAE.

    Yields
    ------
    EditRecord
        Counts, how far the vectors moved, and which latents moved most.

    Raises
    ------
    UserError
        If the pipeline is unknown or has no joint vector, the SAE is of another encoder, a block
        cache would skip what is edited, a noise level would erase the edit, there is no such half,
        no picture was made until the block ended, or none of its steps lay within the window, or
        what was edited overflowed.
    """
    check_parts(study, edit)
    check_half(half)
    schedule = Schedule.of(steps, 1, strength)
    found = find_site(pipeline, site)
    if half == "uncond" and found.zero_unconditional:
        raise UserError(
            f"The unconditional half of {type(pipeline).__name__} is all zeros, so there is "
            "nothing to edit: give half='cond'."
        )
    decoder, denoiser = decoder_of(pipeline), denoiser_of(pipeline)
    refuse_caches(denoiser)
    device = torch.device(decoder._execution_device)
    applied = AppliedEdit(study, edit, device)
    check_pipeline_encoder(study, found, pipeline, encoder, device)

    passing = Passing(applied, found.modality, half, None, schedule)
    guidance = Guidance(decoder)

    def through(acts: Tensor) -> Tensor:
        passing.is_doubled = guidance.is_on
        return passing(acts)

    def denoised(_: nn.Module, args: Any, output: Any) -> None:
        result = output if isinstance(output, Tensor) else output[0]
        if passing.record.n_edited and isinstance(result, Tensor):
            passing.record.add_result(result)

    def begin(_: Any) -> None:
        refuse_caches(denoiser)
        passing.restart()

    with ExitStack() as hooks:
        hooks.callback(passing.close)
        hooks.callback(guidance.attach())
        hooks.callback(denoiser.register_forward_hook(denoised).remove)
        # Each call of a pipeline sets its timesteps once.
        hooks.callback(watch(decoder.scheduler, "set_timesteps", begin))
        if found.name == "ip_adapter":
            check = denoiser.register_forward_pre_hook(refuse_no_picture, with_kwargs=True)
            hooks.callback(check.remove)
        if found.name == "unclip":
            hooks.callback(CleanEmbedding(decoder, guidance).attach(through))
        else:
            hooks.callback(InputRoute("", item=found.argument).install(denoiser, through))
        yield passing.record
    if not passing.record.n_calls:
        raise UserError(
            f"{type(pipeline).__name__} denoised nothing in this block, so nothing was edited: "
            "call it inside the block."
        )
    check_ending(passing.record, edit, schedule)
