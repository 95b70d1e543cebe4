"""SAEs spliced into a model at its hook points, as on SAELens' ``HookedSAETransformer``."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from jaxtyping import Float
from sae_lens import SAE
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.models.sae_lens_wrapper import SAEWrapper
from mm_sae_plugin.saes.encoder_check import check_tower, refuse_transcoder

SAEOrSAEs = SAE[Any] | Sequence[SAE[Any]]
Self = TypeVar("Self", bound="SAESplicing")


class SplicedSAE(SAEWrapper):
    """An SAE standing where a hook point stood: SAELens' own wrapper, kept to the model's dtype."""

    def __init__(
        self, sae: SAE[Any], original: SAE[Any], use_error_term: bool, hook_name: str
    ) -> None:
        super().__init__(sae, use_error_term=use_error_term)
        # Past `nn.Module.__setattr__`, so that the SAE is no submodule of the model.
        self.__dict__["original"] = original
        self.hook_name = hook_name
        self.has_fired = False

    def forward(self, original_output: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_in"]:
        """Replace an activation by its reconstruction, in the activation's own dtype.

        Raises
        ------
        UserError
            If the activation is of another width than the SAE takes.
        """
        # Of some sites only the activation itself tells the width.
        _check_width(self.__dict__["original"], self.hook_name, original_output.shape[-1])
        self.has_fired = True
        return super().forward(original_output).to(original_output.dtype)


class SAESplicing:
    """The methods of ``HookedSAETransformer`` that attach SAEs, for any hooked root module.

    A shared SAE serves both towers: when its metadata names ``hook_name_image`` and
    ``hook_name_text`` it is spliced in at both, with the same weights and separate hook points
    (``vision.hook_normalized.hook_sae_acts_post``, ``text.hook_normalized.hook_sae_acts_post``).
    """

    hook_dict: dict[str, HookPoint]
    _spliced: dict[str, SplicedSAE]
    _displaced: dict[str, nn.Module]

    @property
    def acts_to_saes(self) -> dict[str, SAE[Any]]:
        """Hook name -> the SAE attached there."""
        return {name: spliced.__dict__["original"] for name, spliced in self._spliced.items()}

    def add_sae(
        self,
        sae: SAE[Any],
        use_error_term: bool | None = None,
        hook_name: str | None = None,
    ) -> None:
        """Attach an SAE until :meth:`reset_saes`; an SAE already there is replaced.

        Parameters
        ----------
        sae
            A SAELens SAE whose metadata names its hook or hooks.
        use_error_term
            Add the reconstruction error back, so that the output is unchanged until the SAE's
            activations are edited. ``None`` takes the SAE's own setting.
        hook_name
            Attach at this one hook instead of those in the metadata.

        Raises
        ------
        UserError
            If it is no SAE, a hook is unknown or its width is another (of ``hook_pooled`` and
            ``hook_mlp_post`` the forward pass says so), or if the SAE names no hook, is a
            transcoder, was trained on another encoder, or on activations normalised outside it, or
            was folded for the other tower.
        """
        if not isinstance(sae, SAE):
            raise UserError(
                f"add_sae takes an SAE, not {kind_of(sae)}: load_sae(folder) gives one, and its "
                "normalisation beside it."
            )
        hook_names = self._hooks_of(sae, hook_name)
        self._check_sae(sae, hook_names)
        error_term = sae.use_error_term if use_error_term is None else use_error_term
        for name in hook_names:
            twin = any(spliced.sae is sae for n, spliced in self._spliced.items() if n != name)
            spliced = SplicedSAE(_with_own_hooks(sae) if twin else sae, sae, error_term, name)
            self._put(name, spliced)
        self.setup()

    def reset_saes(self, act_names: str | list[str] | None = None) -> None:
        """Detach the SAEs at these hooks, or all; the hook points come back with their hooks."""
        if act_names is None:
            act_names = list(self._spliced)
        elif isinstance(act_names, str):
            act_names = [act_names]
        for name in act_names:
            if name in self._spliced:
                del self._spliced[name]
                self._place(name, self._displaced.pop(name))
        self.setup()

    @contextmanager
    def saes(
        self: Self,
        saes: SAEOrSAEs = (),
        reset_saes_end: bool = True,
        use_error_term: bool | None = None,
        hook_name: str | None = None,
    ) -> Iterator[Self]:
        """Attach SAEs for a ``with`` block; what was attached before comes back after it."""
        before = dict(self._spliced)
        try:
            for sae in _listed(saes):
                self.add_sae(sae, use_error_term=use_error_term, hook_name=hook_name)
            yield self
        finally:
            if reset_saes_end:
                self._restore(before)

    def run_with_saes(
        self,
        *model_args: Any,
        saes: SAEOrSAEs = (),
        reset_saes_end: bool = True,
        use_error_term: bool | None = None,
        **model_kwargs: Any,
    ) -> Any:
        """Run one forward pass with SAEs attached.

        Raises
        ------
        UserError
            If nothing passed one of the SAEs, at any of its hooks.
        """
        with self.saes(saes, reset_saes_end, use_error_term) as model, model._all_fire(saes):
            return model(*model_args, **model_kwargs)  # type: ignore[operator]

    def run_with_cache_with_saes(
        self,
        *model_args: Any,
        saes: SAEOrSAEs = (),
        reset_saes_end: bool = True,
        use_error_term: bool | None = None,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Tensor]]:
        """Run one forward pass with SAEs attached and cache activations, theirs included.

        Raises
        ------
        UserError
            If nothing passed one of the SAEs, at any of its hooks.
        """
        with self.saes(saes, reset_saes_end, use_error_term) as model, model._all_fire(saes):
            return model.run_with_cache(*model_args, **kwargs)  # type: ignore[attr-defined]

    def run_with_hooks_with_saes(
        self,
        *model_args: Any,
        saes: SAEOrSAEs = (),
        reset_saes_end: bool = True,
        use_error_term: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run one forward pass with SAEs and hooks attached.

        Raises
        ------
        UserError
            If nothing passed one of the SAEs, at any of its hooks.
        """
        with self.saes(saes, reset_saes_end, use_error_term) as model, model._all_fire(saes):
            return model.run_with_hooks(*model_args, **kwargs)  # type: ignore[attr-defined]

    @property
    def weights_id(self) -> str:
        """Which weights the model runs with."""
        raise NotImplementedError

    def has_weights(self, noted: str) -> bool:
        """Say whether ``noted`` is the id of the model's weights."""
        raise NotImplementedError

    def setup(self) -> None:
        """Rebuild the dictionary of hook points."""
        raise NotImplementedError

    def check_hook(self, name: str) -> None:
        """Raise ``UserError`` for a hook name that does not exist."""
        raise NotImplementedError

    def _hook_width(self, name: str) -> int | None:
        raise NotImplementedError

    def _place(self, name: str, module: nn.Module) -> nn.Module:
        """Put ``module`` at a hook's place and return what stood there."""
        raise NotImplementedError

    @contextmanager
    def _all_fire(self, saes: SAEOrSAEs) -> Iterator[None]:
        """Refuse a forward pass in which one of these SAEs stood beside the way."""
        wanted = _listed(saes)
        for spliced in self._spliced.values():
            spliced.has_fired = False
        yield
        for sae in wanted:
            # A shared SAE serves both towers, of which one alone may be run.
            at = {n: s for n, s in self._spliced.items() if s.__dict__["original"] is sae}
            if at and not any(spliced.has_fired for spliced in at.values()):
                raise UserError(
                    f"Nothing passed the SAE at {' and '.join(map(repr, at))} in this forward "
                    "pass: give its tower an input, and leave out normalize=False or "
                    "stop_at_layer where they end the pass before it."
                )

    def _put(self, name: str, spliced: SplicedSAE) -> None:
        previous = self._place(name, spliced)
        # Only the hook point itself is kept: replacing an SAE must not bury it.
        if name not in self._spliced:
            self._displaced[name] = previous
        self._spliced[name] = spliced

    def _restore(self, before: dict[str, SplicedSAE]) -> None:
        for name in [n for n in self._spliced if n not in before]:
            del self._spliced[name]
            self._place(name, self._displaced.pop(name))
        for name, spliced in before.items():
            self._put(name, spliced)
        self.setup()

    def _hooks_of(self, sae: SAE[Any], hook_name: str | None) -> list[str]:
        if hook_name is not None:
            return [hook_name]
        refuse_transcoder(sae)
        metadata = sae.cfg.metadata
        both = [name for name in (metadata.hook_name_image, metadata.hook_name_text) if name]
        hook_names = list(dict.fromkeys(both)) or [metadata.hook_name]
        if hook_names == [None]:
            raise UserError("The SAE's metadata names no hook: give hook_name=… to add_sae.")
        return hook_names

    def _check_sae(self, sae: SAE[Any], hook_names: list[str]) -> None:
        for name in hook_names:
            if name not in self._spliced:
                self.check_hook(name)
            check_tower(sae, name)
            width = self._hook_width(name)
            if width is not None:
                _check_width(sae, name, width)
        metadata = sae.cfg.metadata
        if metadata.weights_id and not self.has_weights(metadata.weights_id):
            raise UserError(
                f"The SAE was trained on {metadata.weights_id} and this model is "
                f"{self.weights_id}: load the encoder that it was trained on."
            )
        if (metadata.normalization or "none") != "none":
            raise UserError(
                f"The SAE was trained on activations normalised by {metadata.normalization!r} and "
                "would see raw ones here: fold it in first, for one modality at a time, with "
                "mm_sae_plugin.saes.normalization.fold_normalization."
            )


def _listed(saes: SAEOrSAEs) -> Sequence[SAE[Any]]:
    # A path is one mistake, not one for each of its letters.
    alone = isinstance(saes, SAE | str | os.PathLike) or not isinstance(saes, Iterable)
    return [saes] if alone else list(saes)  # pyright: ignore[reportReturnType]


def _check_width(sae: SAE[Any], hook_name: str, width: int) -> None:
    if width != sae.cfg.d_in:
        raise UserError(
            f"The SAE takes vectors of width {sae.cfg.d_in}, but {hook_name!r} is {width} wide: "
            "give the SAE that was trained on this model and hook."
        )


def _with_own_hooks(sae: SAE[Any]) -> SAE[Any]:
    """Return a second view of an SAE: the same parameters, hook points of its own.

    One hook point can have one name only, so without this a cache could not tell the towers
    apart, and an edit meant for one of them would reach both.
    """
    view = copy.copy(sae)
    view._modules = dict(sae._modules)
    for name in sae.hook_dict:
        setattr(view, name, HookPoint())
    view.setup()
    return view
