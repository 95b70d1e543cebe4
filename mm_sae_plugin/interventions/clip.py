"""Edits on the CLIP that an SAE was trained on, with the SAE spliced in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions.applied import AppliedEdit, check_parts
from mm_sae_plugin.interventions.edit import FeatureEdit
from mm_sae_plugin.interventions.ending import overflow
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
    towers = _tower_edits(study, edit, modalities, strength)
    return [hook for name, tower in towers.items() for hook in tower.hooks(name)]


def _tower_edits(
    study: Study,
    edit: FeatureEdit,
    modalities: Modality | Sequence[Modality],
    strength: float,
) -> dict[str, _TowerEdit]:
    """What is done at each hook."""
    check_parts(study, edit)
    strength = checked_strength(strength)
    applied = AppliedEdit(study, edit)
    return {
        name: _TowerEdit(applied, modality, strength)
        for modality, name in _hook_names(study, modalities).items()
    }


class _TowerEdit:
    """An edit at one hook: what it is relative to passes the SAE before its codes do."""

    def __init__(self, applied: AppliedEdit, modality: Modality, strength: float) -> None:
        self._applied, self._strength = applied, strength
        self._modality: Modality = modality
        self._norm: Tensor | None = None
        self.is_lost: Tensor | None = None
        """Whether codes overflowed, on the device."""

    def hooks(self, name: str) -> NamedHooks:
        """By the names under which an SAE that is spliced in at a hook has them."""
        measuring = [] if self._applied.relative_norm is None else [(_INPUT, self.measure)]
        return [(f"{name}.{part}", hook) for part, hook in [*measuring, (_CODES, self.change)]]

    def measure(self, acts: Tensor, hook: Any = None) -> Tensor:
        """Note how long the vectors are, and let them pass."""
        self._norm = acts.norm(dim=-1, keepdim=True)
        return acts

    def change(self, codes: Tensor, hook: Any = None) -> Tensor:
        """Edit the codes of what passed last."""
        edited = self._applied.codes(codes, self._strength, self._norm, self._modality)
        is_lost = ~edited.detach().float().norm(dim=-1).isfinite().all()
        self.is_lost = is_lost if self.is_lost is None else self.is_lost | is_lost
        return edited


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
        If the edit is of another SAE, the SAE cannot be spliced in, nothing passed it until the
        block ended, or its codes overflowed.
    """
    towers = _tower_edits(study, edit, modalities, strength)
    hooks = [hook for name, tower in towers.items() for hook in tower.hooks(name)]
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
    if any(tower.is_lost is not None and bool(tower.is_lost) for tower in towers.values()):
        raise overflow(edit, strength)


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
