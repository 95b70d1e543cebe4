"""Reading hook points of both towers while a model runs."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.activations.captions import ShortCaptions
from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.devices import checked_device, checked_dtype
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.inspection import has_hooks
from mm_sae_plugin.models import hook_names as names

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP


# Images that a CPU encodes at a time, so that what passes between layers is read from its cache:
# the embedded tower is some 8% quicker than with 256.
_IMAGES_IN_CACHE = 64


class HookReader:
    """Encodes batches and returns what passed the hooks of one config or of several.

    Use it as ``with HookReader(model, cfg).attached() as reader``: the hooks are added once, so
    that a batch costs hardly more than the bare model, and the towers run once for all configs.

    Parameters
    ----------
    model
        The model, where and as it is to run.
    cfgs
        What to take, at least one. A text hook of one that others leave out is read all the same.
    """

    def __init__(self, model: "HookedCLIP", *cfgs: ExtractConfig) -> None:
        assert cfgs
        self._model = model
        self._cfgs = cfgs
        self._seen: dict[str, Tensor] = {}
        self._image_hooks = [cfg.image_hook for cfg in cfgs]
        # Each once: captions of many stores are often read at the same hook.
        self._text_hooks = list(dict.fromkeys(cfg.text_hook for cfg in cfgs if cfg.text_hook))
        self._captions = ShortCaptions(model, self._texts_at_once)

    @contextmanager
    def attached(self) -> Iterator["HookReader"]:
        """Add the hooks, and set the model to evaluation, while the block lasts."""
        wanted = dict.fromkeys([*self._image_hooks, *self._text_hooks])
        was_training = self._model.training
        self._model.eval()
        try:
            with torch.inference_mode(), self._model.hooks([(n, self._keep) for n in wanted]):
                yield self
        finally:
            self._model.train(was_training)

    def images(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Float[Tensor, "_ _"]]:
        """Encode images; for each config one row per image, or one per token, image by image."""
        device = self._model.device
        if device.type != "cpu":
            return self._images_at_once(pixels.to(device, non_blocking=True))
        parts = [self._images_at_once(part) for part in pixels.split(_IMAGES_IN_CACHE)]
        return [torch.cat(rows) for rows in zip(*parts, strict=True)]

    def texts(
        self, captions: "list[str] | Int[Tensor, 'batch ctx']"
    ) -> dict[str, Float[Tensor, "batch _"]]:
        """Encode captions, or their tokens: for each text hook one row each."""
        assert self._text_hooks
        rows = self._captions.rows(self._model.to_tokens(captions))
        return dict(zip(self._text_hooks, rows, strict=True))

    def _images_at_once(
        self, pixels: Float[Tensor, "batch 3 height width"]
    ) -> list[Float[Tensor, "_ _"]]:
        self._model(
            images=pixels,
            normalize=_normalizes(self._image_hooks),
            stop_at_layer=_stop_after(self._image_hooks),
        )
        seen = {name: self._take(name) for name in set(self._image_hooks)}
        return [_wanted_rows(seen[cfg.image_hook], cfg) for cfg in self._cfgs]

    def _texts_at_once(self, tokens: Int[Tensor, "batch ctx"]) -> list[Float[Tensor, "batch _"]]:
        self._model(
            texts=tokens,
            normalize=_normalizes(self._text_hooks),
            stop_at_layer=_stop_after(self._text_hooks),
        )
        return [self._take(name) for name in self._text_hooks]

    def _keep(self, activation: Tensor, hook: object) -> None:
        self._seen[hook.name] = activation  # type: ignore[attr-defined]

    def _take(self, name: str) -> Tensor:
        if name not in self._seen:
            raise _did_not_fire(self._model, name)
        return self._seen.pop(name)


def prepare_model(model: "HookedCLIP", cfg: ExtractConfig) -> "HookedCLIP":
    """Return the model where and as the config wants it; the caller's own stays as it is.

    Raises
    ------
    UserError
        If there is no such device.
    """
    dtype = checked_dtype(cfg.model_dtype) if cfg.model_dtype else model.dtype
    device = checked_device(cfg.device) if cfg.device else model.device
    same_device = device.type == model.device.type and device.index in (None, model.device.index)
    if dtype == model.dtype and same_device:
        return model
    return copy.deepcopy(model).to(device=device, dtype=dtype)


def refuse_changed_model(model: "HookedCLIP") -> None:
    """Refuse a model that does not run as its weights alone would have it run.

    A store is known by the weights, so what hooks and SAEs make of them must not get into it.

    Raises
    ------
    UserError
        If a hook point has a hook, or an SAE is spliced in.
    """
    if model.acts_to_saes:
        at = " and ".join(map(repr, model.acts_to_saes))
        raise UserError(
            f"An SAE is spliced into {model.cfg.model_name} at {at}, and what is stored must be "
            "the model's own: take it out first with model.reset_saes()."
        )
    # At the hook points alone: a hook on a module of the wrapped model may only watch it.
    hooked = [name for name, point in model.hook_dict.items() if has_hooks(point)]
    if hooked:
        more = f" and at {len(hooked) - 1} other places" if len(hooked) > 1 else ""
        raise UserError(
            f"{model.cfg.model_name} has hooks at {hooked[0]}{more}, and what is stored must be "
            "the model's own: take them off first with "
            "model.reset_hooks(including_permanent=True)."
        )


def check_hooks(model: "HookedCLIP", cfg: ExtractConfig) -> int:
    """Refuse hooks that the model does not have or that do not fit together.

    Returns
    -------
    int
        Rows per image.

    Raises
    ------
    UserError
        Naming the hook and what to give instead.
    """
    model.check_hook(cfg.image_hook)
    if names.tower_of(cfg.image_hook) != names.VISION:
        raise UserError(
            f"image_hook={cfg.image_hook!r} is not in the vision tower: begin it with 'vision.'."
        )
    if cfg.text_hook is not None:
        model.check_hook(cfg.text_hook)
        if names.tower_of(cfg.text_hook) != names.TEXT:
            raise UserError(
                f"text_hook={cfg.text_hook!r} is not in the text tower: begin it with 'text.'."
            )
        if names.is_token_site(cfg.text_hook):
            raise UserError(
                f"text_hook={cfg.text_hook!r} has one row per token, which cannot be paired with "
                "images: give text.hook_pooled, text.hook_proj or text.hook_normalized, or None."
            )
    return _rows_per_image(model, cfg)


def _rows_per_image(model: "HookedCLIP", cfg: ExtractConfig) -> int:
    if not names.is_token_site(cfg.image_hook):
        if cfg.token_mode is not None:
            raise UserError(
                f"image_hook={cfg.image_hook!r} has one row per image: leave token_mode out."
            )
        return 1
    if cfg.token_mode is None:
        raise UserError(
            f"image_hook={cfg.image_hook!r} has one row per token: say token_mode='cls' for the "
            "class token alone, or token_mode='all'."
        )
    shape = model.hook_shapes().get(cfg.image_hook)
    if shape is None:
        raise _did_not_fire(model, cfg.image_hook)
    n_tokens = int(shape[1])
    if cfg.token_mode == "cls":
        # A tower that pools by attention, or by a mean, may have its patches only.
        if not model.has_class_token(names.VISION):
            raise UserError(
                f"{model.cfg.model_name} has no class token at {cfg.image_hook!r}: "
                "say token_mode='all'."
            )
        return 1
    if cfg.text_hook is not None:
        raise UserError(
            "token_mode='all' gives many rows per image, which captions cannot be paired with: "
            "set text_hook to None."
        )
    return n_tokens


def _did_not_fire(model: "HookedCLIP", name: str) -> UserError:
    return UserError(
        f"The hook {name!r} did not fire while {model.cfg.model_name} ran, so there is nothing to "
        "store: choose another hook; mm-sae hooks lists them."
    )


def _wanted_rows(acts: Tensor, cfg: ExtractConfig) -> Float[Tensor, "rows d"]:
    if acts.ndim == 2:
        return acts
    return acts[:, 0] if cfg.token_mode == "cls" else acts.flatten(0, 1)


def _normalizes(hooks: list[str]) -> bool:
    return any(hook.endswith(names.HOOK_NORMALIZED) for hook in hooks)


def _stop_after(hooks: list[str]) -> int | None:
    """Return the block before which the tower may stop; None where it is needed to its end."""
    layers = []
    for hook in hooks:
        parts = hook.split(".")
        if len(parts) < 3 or parts[1] != "blocks":
            return None
        layers.append(int(parts[2]) + 1)
    return max(layers)
