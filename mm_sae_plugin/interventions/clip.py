"""Edits on the CLIP that an SAE was trained on, with the SAE spliced in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions.applied import AppliedEdit, check_parts
from mm_sae_plugin.interventions.edit import FeatureEdit
from mm_sae_plugin.interventions.schedule import checked_strength
from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.study import Study

NamedHooks = list[tuple[str, Callable[..., Tensor]]]
_INPUT, _CODES = "hook_sae_input", "hook_sae_acts_post"


def edit_hooks(
    study: Study,
    edit: FeatureEdit,
    modalities: Modality | Sequence[Modality] = MODALITIES,
    strength: float = 1.0,
) -> NamedHooks:
    """Hooks that edit an SAE's codes, for SAELens' own habit.

    ``model.run_with_hooks_with_saes(…, saes=[study.sae], use_error_term=True, fwd_hooks=hooks)``
    does what :func:`edited` does.

    Raises
    ------
    UserError
        If the edit is of another SAE, or the SAE has no such modality.
    """
    check_parts(study, edit)
    strength = checked_strength(strength)
    applied = AppliedEdit(study, edit)
    hooks: NamedHooks = []
    for modality, name in _hook_names(study, modalities).items():
        tower = _TowerEdit(applied, modality, strength)
        if edit.relative_norm is not None:
            hooks.append((f"{name}.{_INPUT}", tower.measure))
        hooks.append((f"{name}.{_CODES}", tower.change))
    return hooks


class _TowerEdit:
    """An edit at one hook: what it is relative to passes the SAE before its codes do."""

    def __init__(self, applied: AppliedEdit, modality: Modality, strength: float) -> None:
        self._applied, self._strength = applied, strength
        self._modality: Modality = modality
        self._norm: Tensor | None = None

    def measure(self, acts: Tensor, hook: Any = None) -> Tensor:
        """Note how long the vectors are, and let them pass."""
        self._norm = acts.norm(dim=-1, keepdim=True)
        return acts

    def change(self, codes: Tensor, hook: Any = None) -> Tensor:
        """Edit the codes of what passed last."""
        return self._applied.codes(codes, self._strength, self._norm, self._modality)


@contextmanager
def edited(
    study: Study,
    edit: FeatureEdit,
    modalities: Modality | Sequence[Modality] = MODALITIES,
    strength: float = 1.0,
) -> Iterator[HookedCLIP]:
    """Splice the study's SAE into its model, and edit its codes until the block ends.

    What the SAE does not reconstruct is kept. The empty edit splices nothing in and changes no bit.
    The SAE stands in all towers that it was trained on; in one that is not edited it gives back
    what it is given, up to rounding.

    Parameters
    ----------
    study : Study
        The SAE and its model.
    edit : FeatureEdit
        What to do with the codes.
    modalities : Modality, or several
        The towers to edit; by default all that the SAE was trained on.
    strength : float
        How far to go; 1 goes all the way.

    Yields
    ------
    HookedCLIP
        The study's model.

    Raises
    ------
    UserError
        If the edit is of another SAE, the SAE cannot be spliced in, or nothing passed it until the
        block ended.
    """
    hooks = edit_hooks(study, edit, modalities, strength)
    model = study.model
    if not edit.steps:
        yield model
        return
    fired: list[str] = []
    counted = [(name, _counted(hook, name, fired)) for name, hook in hooks]
    with model.saes([study.sae], use_error_term=True), model.hooks(fwd_hooks=counted):
        yield model
    if not fired:
        raise UserError(
            f"Nothing passed {' or '.join(repr(name) for name, _ in hooks)} in this block, so "
            "nothing was edited: run the model inside the block, with normalize=True."
        )


def _counted(hook: Callable[..., Tensor], name: str, fired: list[str]) -> Callable[..., Tensor]:
    def through(codes: Tensor, hook: Any = None, inner: Callable[..., Tensor] = hook) -> Tensor:
        fired.append(name)
        return inner(codes)

    return through


def _hook_names(study: Study, modalities: Modality | Sequence[Modality]) -> dict[Modality, str]:
    wanted = [modalities] if isinstance(modalities, str) else modalities
    for modality in wanted:
        if modality not in MODALITIES:
            raise UserError(f"modalities are image and text, not {modality!r:.40}.")
    names: dict[Modality, str] = {
        modality: name for modality, name in study.hook_names.items() if name and modality in wanted
    }
    if not names:
        raise UserError(f"The SAE in {study.path} was not trained on {' or '.join(wanted)}.")
    return names
