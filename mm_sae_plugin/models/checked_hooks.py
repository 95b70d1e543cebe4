"""Hooks by name that are there and do fire: nothing asked for is silently left out."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformer_lens.hook_points import HookPoint
from transformer_lens.HookedRootModule import HookedRootModule

from mm_sae_plugin.errors import UserError


class CheckedHooks(HookedRootModule):
    """TransformerLens' hook methods, which take an unknown name for a filter that matches none."""

    check_hook: Callable[[str], None]
    """Raises ``UserError`` when there is no such hook."""

    def add_hook(self, name: str | Callable[[str], bool], *args: Any, **kwargs: Any) -> None:
        """Add a hook that stays until ``reset_hooks``; an unknown name is a ``UserError``."""
        self._check_names(name)
        super().add_hook(name, *args, **kwargs)

    def get_caching_hooks(self, names_filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As in TransformerLens, but an unknown name is a ``UserError``, not an empty cache."""
        if isinstance(names_filter, tuple | set | frozenset):
            names_filter = list(names_filter)
        self._check_names(names_filter)
        return super().get_caching_hooks(names_filter, *args, **kwargs)

    def run_with_cache(self, *args: Any, names_filter: Any = None, **kwargs: Any) -> Any:
        """As in TransformerLens, but a hook asked for by name that did not fire is an error.

        Raises
        ------
        UserError
            If a name is unknown, or its activation was not on the way of this forward pass.
        """
        result = super().run_with_cache(*args, names_filter=names_filter, **kwargs)
        self._check_fired(names_filter, set(result[1]))
        return result

    def run_with_hooks(
        self, *args: Any, fwd_hooks: Sequence[tuple[Any, Any]] = (), **kwargs: Any
    ) -> Any:
        """As in TransformerLens, but a forward hook by name that did not fire is an error.

        Raises
        ------
        UserError
            If a name is unknown, or its activation was not on the way of this forward pass.
        """
        fired: set[str] = set()

        def noting(name: str, function: Callable) -> Callable:
            def hook(activation: Tensor, hook: HookPoint) -> Any:
                fired.add(name)
                return function(activation, hook=hook)

            return hook

        watched = [
            (name, noting(name, function) if isinstance(name, str) else function)
            for name, function in fwd_hooks
        ]
        result = super().run_with_hooks(*args, fwd_hooks=watched, **kwargs)
        self._check_fired([name for name, _ in watched if isinstance(name, str)], fired)
        return result

    def _check_fired(self, requested: Any, fired: set[str]) -> None:
        if requested is None or callable(requested):
            return
        for name in [requested] if isinstance(requested, str) else requested:
            if name in fired:
                continue
            raise UserError(
                f"The hook {name!r} did not fire in this forward pass: give its "
                "tower an input, and leave out normalize=False or stop_at_layer where they end "
                "the pass before it."
            )

    def _enable_hook(self, name: str | Callable[[str], bool], hook: Callable, dir: Any) -> None:
        self._check_names(name)
        super()._enable_hook(name, hook, dir)

    def _check_names(self, requested: Any) -> None:
        if requested is None or callable(requested):
            return
        for name in [requested] if isinstance(requested, str) else requested:
            self.check_hook(name)
