"""`steer`: an edit at any place of any module, while a block lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.hooks.inspection import compiled_owner
from mm_sae_plugin.hooks.routes import InputRoute, MethodRoute, OutputRoute, Route
from mm_sae_plugin.interventions.applied import AppliedEdit, check_parts
from mm_sae_plugin.interventions.edit import FeatureEdit
from mm_sae_plugin.interventions.ending import check_ending
from mm_sae_plugin.interventions.passing import Half, Passing, check_half
from mm_sae_plugin.interventions.record import EditRecord
from mm_sae_plugin.interventions.schedule import Schedule, Strength
from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.models.hook_names import nearest_names
from mm_sae_plugin.study import Study


@contextmanager
def steer(
    module: nn.Module,
    study: Study,
    edit: FeatureEdit,
    *,
    path: str = "",
    at: str = "output",
    item: int | str = 0,
    modality: Modality = "image",
    half: Half = "both",
    rows: slice | None = None,
    steps: tuple[int, int | None] = (0, None),
    calls_per_step: int = 1,
    strength: Strength = 1.0,
) -> Iterator[EditRecord]:
    """Edit the joint vectors that flow at one place of a module, until the block ends.

    ``e' = e + |e| * (decode(z') - decode(z))`` with z the codes of e / |e|: what the SAE does not
    reconstruct is kept, and the empty edit changes no bit. Dtype, device and leading dimensions are
    kept, gradients flow, and the host waits for the device only when the block ends. Blocks nest.
    Hooks are state of the module: what another thread sends through it meanwhile is edited, too.

    Parameters
    ----------
    module : nn.Module
        Any module; a diffusers pipeline's ``image_encoder``, say.
    study : Study
        The SAE, and what belongs to it.
    edit : FeatureEdit
        What to do with its codes.
    path : str
        A part of the module, ``"visual.proj"``; by default the module itself.
    at : str
        ``"output"``, ``"input"``, or the name of a method whose value holds the vectors.
    item : int or str
        Where that is a tuple, a list, a dataclass or a dict, which item or field; for an input
        which argument, by position or by name. A call that leaves the named argument out is not
        edited. Dots reach further in, ``"added_cond_kwargs.image_embeds.0"``.
    modality : Modality
        What the vectors embed, `image` or `text`.
    half : Half
        Of a batch doubled for classifier-free guidance (unconditional first): ``"cond"``,
        ``"uncond"``, or both.
    rows : slice, optional
        Edit only these rows of the batch (of the half, where one is chosen).
    steps : (start, stop)
        Window of denoising steps; None is no end.
    calls_per_step : int
        How often the place is passed in a step.
    strength : float, sequence or function
        How far to go, 0 to 1 or more: one number, one a step (the last one stays), or a function of
        the step.

    Yields
    ------
    EditRecord
        Counts, how far the vectors moved, and which latents moved most.

    Raises
    ------
    UserError
        If the edit is of another SAE, there is no such place, the vectors are of another width, a
        batch has no two halves, or nothing passed the place until the block ended, or nothing
        within the window, or the vectors were moved beyond all numbers.
    """
    check_parts(study, edit)
    route = _route(module, path, at, item)
    schedule = Schedule.of(steps, calls_per_step, strength)
    check_half(half)
    if modality not in MODALITIES:
        raise UserError(f"modality must be image or text, not {modality!r:.40}.")
    if rows is not None and not isinstance(rows, slice):
        raise UserError(f"rows must be a slice, such as slice(0, 4), not {kind_of(rows)}.")
    applied = AppliedEdit(study, edit, _device_of(module))
    passing = Passing(applied, modality, half, rows, schedule)
    record = passing.record
    undo = route.install(module, passing)
    try:
        yield record
    finally:
        passing.close()
        undo()
    if not record.n_calls:
        where = f"{at} of {path or type(module).__name__!r}"
        raise UserError(
            f"Nothing passed the {where} in this block, so nothing was edited: run the module "
            "inside the block, and name the place that it really passes (path=…, at=…)."
        )
    check_ending(record, edit, schedule)


def _route(module: nn.Module, path: str, at: str, item: int | str) -> Route:
    if not isinstance(module, nn.Module):
        raise UserError(f"steer takes a module, not {kind_of(module)}.")
    for name, value in (("path", path), ("at", at)):
        if not isinstance(value, str):
            raise UserError(f"{name} must be a str, not {kind_of(value)}.")
    if isinstance(item, bool) or not isinstance(item, int | str):
        raise UserError(f"item must be a number or a name, not {kind_of(item)}.")
    parts = dict(module.named_modules())
    if path not in parts:
        nearest = nearest_names(path, [name for name in parts if name])
        hint = f": did you mean {nearest}?" if nearest else "."
        raise UserError(f"{type(module).__name__} has no part {path!r}{hint}")
    compiled = compiled_owner(module, path) if path else None
    if compiled is not None and compiled != path:
        raise UserError(
            f"{compiled!r} is compiled, and its parts see no hook: steer {compiled!r} itself, or "
            "the module before it is compiled."
        )
    if at == "output":
        return OutputRoute(path, item=item)
    if at == "input":
        return InputRoute(path, item=item)
    if not callable(getattr(parts[path], at, None)):
        methods = [n for n in dir(parts[path]) if not n.startswith("_")]
        nearest = nearest_names(at, methods)
        hint = f": did you mean {nearest}?" if nearest else "."
        raise UserError(
            f"{path or type(module).__name__!r} has no method {at!r}; at is 'output', 'input' or a "
            f"method{hint}"
        )
    return MethodRoute(path, at, item)


def _device_of(module: nn.Module) -> torch.device | None:
    parameter = next(module.parameters(), None)
    return None if parameter is None else parameter.device
