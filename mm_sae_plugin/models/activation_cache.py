"""What a forward pass left at its hook points, looked up by name or by shorthand."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import hook_names as names

# TransformerLens calls an MLP's hidden units both ways.
_ALIASES = {"post": "mlp_post"}


class NotCachedError(UserError, KeyError):
    """An activation was asked for that the cache does not hold."""

    # A KeyError would show its sentence in quotation marks.
    __str__ = UserError.__str__


class ActivationCache(dict[str, Tensor]):
    """Hook name -> activation, with the shorthand of TransformerLens' ``ActivationCache``.

    ``cache["resid_post", 1, "vision"]`` is ``cache["vision.blocks.1.hook_resid_post"]``, and
    ``cache["proj", "text"]`` is ``cache["text.hook_proj"]``. Negative layers count from the last;
    the tower may be left out where only one tower's activation is held.

    Parameters
    ----------
    activations
        Hook name -> activation.
    n_layers
        Tower -> number of its blocks.

    Raises
    ------
    NotCachedError
        By every look-up, if there is no such activation; it is a ``UserError`` and a ``KeyError``.
    """

    def __init__(self, activations: Mapping[str, Tensor], n_layers: Mapping[str, int]) -> None:
        super().__init__(activations)
        self.n_layers = dict(n_layers)

    def __missing__(self, key: Any) -> Tensor:
        name = self._name_of(key)
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        nearest = names.nearest_names(name, self)
        held = f"did you mean {nearest}?" if nearest else f"it holds {len(self)} others."
        raise NotCachedError(f"The cache holds no {name!r}: {held}")

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except NotCachedError:
            return False
        return True

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the activation of a name or shorthand, or ``default``."""
        try:
            return self[key]
        except NotCachedError:
            return default

    def _name_of(self, key: Any) -> str:
        if isinstance(key, str):
            key = (key,)
        if not isinstance(key, tuple) or not key or not isinstance(key[0], str):
            raise NotCachedError(
                f"{key!r} names no activation: give a hook's name, or a shorthand such as "
                "('resid_post', 1, 'vision')."
            )
        site, *rest = key
        towers = [part for part in rest if isinstance(part, str)]
        layers = [part for part in rest if part is not None and not isinstance(part, str)]
        if len(towers) > 1 or len(layers) > 1 or not set(towers) <= set(names.TOWERS):
            raise NotCachedError(
                f"{key!r} names no activation: after the site come a layer's number and a tower, "
                "'vision' or 'text'."
            )
        if not rest and "." in site:
            return site
        found = [self._full_name(site, layers, tower) for tower in towers or names.TOWERS]
        held = [name for name in found if dict.__contains__(self, name)]
        if len(held) > 1:
            raise NotCachedError(f"Both towers have a {site!r}: add 'vision' or 'text' to {key!r}.")
        return (held or found)[0]

    def _full_name(self, site: str, layers: list[Any], tower: str) -> str:
        site = site.removeprefix("hook_")
        site = f"hook_{_ALIASES.get(site, site)}"
        if not layers:
            return f"{tower}.{site}"
        layer = int(layers[0])
        return f"{tower}.{names.block_site(layer + self.n_layers[tower] * (layer < 0), site)}"
