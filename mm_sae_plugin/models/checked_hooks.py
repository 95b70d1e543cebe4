"""Hooks by name that are there and do fire: nothing asked for is silently left out."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.HookedRootModule import HookedRootModule

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.models.activation_cache import ActivationCache


class CheckedHooks(HookedRootModule):
    """TransformerLens' hook methods, which take an unknown name for a filter that matches none."""

    def check_hook(self, name: str) -> None:
        """Raise ``UserError`` when there is no such hook."""
        raise NotImplementedError

    def n_layers(self, tower: str) -> int:
        """Return the number of a tower's blocks."""
        raise NotImplementedError

    def add_hook(
        self,
        name: str | Callable[[str], bool],
        hook: Callable[..., Any],
        dir: Any = "fwd",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Add a hook that stays until ``reset_hooks``.

        Raises
        ------
        UserError
            If a name is unknown or ``hook`` no function; later, if a forward hook returns something
            that cannot stand in for the activation.
        """
        self._check_pairs([(name, hook)])
        super().add_hook(name, _kept_alike(hook) if dir == "fwd" else hook, dir, *args, **kwargs)

    def hooks(
        self,
        fwd_hooks: Sequence[tuple[Any, Any]] = (),
        bwd_hooks: Sequence[tuple[Any, Any]] = (),
        *args: Any,
        **kwargs: Any,
    ) -> AbstractContextManager[Any]:
        """Set hooks for a ``with`` block, as in TransformerLens.

        Raises
        ------
        UserError
            If they are no pairs of a name and a function, or a name is unknown; later, if a forward
            hook returns something that cannot stand in for the activation.
        """
        fwd, bwd = self._check_pairs(fwd_hooks), self._check_pairs(bwd_hooks, "bwd_hooks")
        return super().hooks(fwd, bwd, *args, **kwargs)

    def get_caching_hooks(self, names_filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As in TransformerLens, but an unknown name is a ``UserError``, not an empty cache."""
        if isinstance(names_filter, tuple | set | frozenset):
            names_filter = list(names_filter)
        self._check_names(names_filter)
        return super().get_caching_hooks(names_filter, *args, **kwargs)

    def run_with_cache(
        self, *model_args: Any, names_filter: Any = None, incl_bwd: bool = False, **kwargs: Any
    ) -> tuple[Any, ActivationCache]:
        """As in TransformerLens, but a hook that was asked for and did not fire is an error.

        Returns
        -------
        tuple
            What the forward pass returns, and the activations.

        Raises
        ------
        UserError
            If a name is unknown, or its activation was not on the way of this forward pass.
        """
        if incl_bwd:
            raise UserError(
                "There is no one output to go backward from: leave incl_bwd out, and take "
                "gradients with model.hooks(bwd_hooks=…) around your own loss."
            )
        output, activations = super().run_with_cache(
            *model_args, names_filter=names_filter, **kwargs
        )
        self._check_fired(names_filter, set(activations))
        n_layers = {tower: self.n_layers(tower) for tower in ("vision", "text")}
        return output, ActivationCache(activations, n_layers)

    def run_with_hooks(
        self, *model_args: Any, fwd_hooks: Sequence[tuple[Any, Any]] = (), **kwargs: Any
    ) -> Any:
        """As in TransformerLens, but a forward hook that did not fire is an error.

        Raises
        ------
        UserError
            If a name is unknown, its activation was not on the way of this forward pass, or a hook
            returns something that cannot stand in for the activation.
        """
        fwd_hooks = self._check_pairs(fwd_hooks)
        fired: list[set[str]] = [set() for _ in fwd_hooks]
        watched = [
            (name, _noting(function, seen))
            for (name, function), seen in zip(fwd_hooks, fired, strict=True)
        ]
        output = super().run_with_hooks(*model_args, fwd_hooks=watched, **kwargs)
        for (name, _), seen in zip(fwd_hooks, fired, strict=True):
            self._check_fired(name, seen)
        return output

    def _check_fired(self, requested: Any, fired: set[str]) -> None:
        if requested is None:
            return
        if callable(requested):
            if not fired:
                raise UserError(
                    "No hook that the filter names fired in this forward pass: "
                    f"{self._remedy('the')}"
                )
            return
        for name in [requested] if isinstance(requested, str) else requested:
            if name not in fired:
                tower = name.split(".", 1)[0]
                raise UserError(
                    f"The hook {name!r} did not fire in this forward pass: "
                    f"{self._remedy(f'the {tower}')}"
                )

    @staticmethod
    def _remedy(which: str) -> str:
        return (
            f"give {which} tower an input, and leave out normalize=False or stop_at_layer where "
            "they end the pass before it."
        )

    def _enable_hook(self, name: str | Callable[[str], bool], hook: Callable, dir: Any) -> None:
        super()._enable_hook(name, _kept_alike(hook) if dir == "fwd" else hook, dir)

    def _check_pairs(self, pairs: Any, argument: str = "fwd_hooks") -> list[tuple[Any, Any]]:
        """Return hooks as a list, or refuse what is no list of (name, function) pairs."""
        if isinstance(pairs, str) or not isinstance(pairs, Iterable):
            raise UserError(
                f"{argument} must be a list of (name, function) pairs, not {kind_of(pairs)}."
            )
        pairs = list(pairs)
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise UserError(f"{argument} must hold (name, function) pairs, not {pair!r:.80}.")
            name, function = pair
            if not (isinstance(name, str) or callable(name)):
                raise UserError(
                    f"A hook is set by a name, or by a function that says which names, not by "
                    f"{kind_of(name)} ({name!r:.80}): give (name, function) pairs."
                )
            if not callable(function):
                raise UserError(
                    f"The hook at {name!r:.80} must be a function of an activation, not "
                    f"{kind_of(function)}: give (name, function) pairs."
                )
            self._check_names(name)
        return pairs

    def _check_names(self, requested: Any) -> None:
        if requested is None or callable(requested):
            return
        for name in [requested] if isinstance(requested, str) else requested:
            self.check_hook(name)


def _noting(function: Callable[..., Any], seen: set[str]) -> Callable[..., Any]:
    """Wrap a hook function so that it notes where it fired."""

    def hook(activation: Tensor, hook: HookPoint) -> Any:
        assert hook.name is not None
        seen.add(hook.name)
        return function(activation, hook=hook)

    return hook


def _kept_alike(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a forward hook so that it returns nothing, or what can stand in for the activation."""

    @wraps(function)
    def hook(activation: Tensor, hook: HookPoint) -> Any:
        returned = function(activation, hook=hook)
        if returned is not None:
            _check_alike(returned, activation, hook)
        return returned

    return hook


def _check_alike(returned: Any, activation: Tensor, hook: HookPoint) -> None:
    what = None
    if not isinstance(returned, Tensor):
        what = kind_of(returned)
    elif returned.shape != activation.shape:
        what = f"the shape {list(returned.shape)} for {list(activation.shape)}"
    # Autocast makes two types of the activations itself, and takes either.
    elif returned.dtype != activation.dtype and not torch.is_autocast_enabled(
        activation.device.type
    ):
        what = f"{returned.dtype} for {activation.dtype}"
    if what is not None:
        raise UserError(
            f"The hook at {hook.name!r} returned {what}: return a tensor of the activation's "
            "shape and dtype, or None to leave it as it is."
        )
