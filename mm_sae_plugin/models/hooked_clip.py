"""A real CLIP-like model with hook points in both towers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from mm_sae_plugin.devices import checked_device, checked_dtype
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import hook_names as names
from mm_sae_plugin.models.checked_hooks import CheckedHooks
from mm_sae_plugin.models.config import HookedCLIPConfig
from mm_sae_plugin.models.families import family_of
from mm_sae_plugin.models.families.base import Family
from mm_sae_plugin.models.given import (
    Preprocess,
    Tokenizer,
    as_pixels,
    as_tokens,
    size_explained,
)
from mm_sae_plugin.models.identity import Identified
from mm_sae_plugin.models.open_clip_parts import open_clip_parts
from mm_sae_plugin.models.parts import ModelParts
from mm_sae_plugin.models.splicing import SAESplicing
from mm_sae_plugin.models.towers import EarlyStop, HookTree, TowerSpec, routed
from mm_sae_plugin.models.transformers_parts import transformers_parts
from mm_sae_plugin.models.weights import WeightsId, identify_weights


class HookedCLIP(Identified, SAESplicing, CheckedHooks):
    """A CLIP-like model whose activations can be read, edited and replaced by SAEs.

    The wrapped model stays as it is in ``.clip``; while a forward pass of this module lasts,
    the hook points in use are connected to it. With no hook set the outputs are bit-identical to
    the wrapped model's. Hook methods are TransformerLens' (``run_with_cache``,
    ``run_with_hooks``, ``hooks``, ``hook_dict``, ``reset_hooks``) and SAE methods are SAELens'
    (``add_sae``, ``saes``, ``run_with_saes``, ``reset_saes``); ``encode_image``, ``encode_text``
    and ``logit_scale`` are open_clip's.

    Build one with :func:`mm_sae_plugin.load_model`, :meth:`wrap`, :meth:`from_open_clip` or
    :meth:`from_transformers`. Calling ``.clip`` directly passes by every hook. Hooks and SAEs are
    state of the model: while any is set, let one thread at a time run it.

    Parameters
    ----------
    clip
        An open_clip or transformers model.
    family
        Its adapter.
    tokenizer
        Turns captions into token ids ``[n, ctx]``; needed only to pass captions as strings.
    preprocess
        Turns one PIL image into ``[3, height, width]``.
    name
        The model's name, kept in stores and SAEs.
    weights_id
        Which weights these are; a hash over them, and over the settings that change what they
        compute, by default.
    """

    clip: nn.Module
    vision: HookTree
    text: HookTree

    def __init__(
        self,
        clip: nn.Module,
        family: Family,
        tokenizer: Tokenizer | None,
        preprocess: Preprocess | None,
        name: str,
        weights_id: str | WeightsId | None = None,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.preprocess = preprocess
        self.family = family
        if isinstance(weights_id, str):
            weights_id = WeightsId(weights_id, weights_id)
        self._weights = weights_id or identify_weights(clip)
        self._specs: dict[str, TowerSpec] = {
            names.VISION: family.vision(clip),
            names.TEXT: family.text(clip),
        }
        for tower, spec in self._specs.items():
            sites = [*spec.routes, *names.JOINT_SITES]
            setattr(self, tower, HookTree(sites, len(spec.block_paths)))
        self._spliced = {}
        self._displaced = {}
        self._cfg = self._describe(name)
        self.setup()
        # Our own parts follow the wrapped model; each of its parts stays in the mode it is in.
        self.training = clip.training
        for tower in names.TOWERS:
            getattr(self, tower).train(clip.training)

    @classmethod
    def wrap(
        cls,
        clip: nn.Module,
        tokenizer: Tokenizer | None = None,
        preprocess: Preprocess | None = None,
        name: str | None = None,
        weights_id: str | WeightsId | None = None,
    ) -> HookedCLIP:
        """Wrap a model that exists already; its device, dtype and training mode stay.

        Raises
        ------
        UserError
            If the model's class is not one of the supported ones.
        """
        name = name or type(clip).__name__
        return cls(clip, family_of(clip), tokenizer, preprocess, name, weights_id)

    @classmethod
    def from_open_clip(
        cls,
        name: str,
        pretrained: str | None = None,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
    ) -> HookedCLIP:
        """Load an open_clip model by name, with a tag, a local file or random weights."""
        device, dtype = checked_device(device), checked_dtype(dtype)
        return cls.from_parts(open_clip_parts(name, pretrained)).to(device=device, dtype=dtype)

    @classmethod
    def from_transformers(
        cls,
        id_or_folder: str,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float32,
    ) -> HookedCLIP:
        """Load a transformers CLIP or SigLIP from the hub or from a folder."""
        device, dtype = checked_device(device), checked_dtype(dtype)
        return cls.from_parts(transformers_parts(id_or_folder)).to(device=device, dtype=dtype)

    @classmethod
    def from_parts(cls, parts: ModelParts) -> HookedCLIP:
        """Wrap what a loader returned, in evaluation mode."""
        return cls.wrap(
            parts.clip, parts.tokenizer, parts.preprocess, parts.name, parts.weights_id
        ).eval()

    @property
    def cfg(self) -> HookedCLIPConfig:
        """What this model is, with the device and dtype it has now."""
        dtype = str(self.dtype).removeprefix("torch.")
        return replace(self._cfg, device=str(self.device), dtype=dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.clip.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type that pixels are cast to.

        Where only the products run in half precision (open_clip's ``precision="fp16"``), norms
        and embeddings keep float32: the vision tower's first product says what pixels must be.
        """
        for kind in (nn.Conv2d, nn.Linear):
            for module in self.clip.modules():
                if isinstance(module, kind):
                    return module.weight.dtype
        return next(self.clip.parameters()).dtype

    def n_prefix_tokens(self, tower: names.Tower) -> int:
        """Return how many tokens stand before the patches in a tower's token hooks.

        These are the class token, where :meth:`has_class_token`, and register tokens after it.
        Text towers have none.
        """
        return self._specs[tower].n_prefix_tokens

    def has_class_token(self, tower: names.Tower) -> bool:
        """Say whether the first token of a tower's token hooks is a class token."""
        return self._specs[tower].has_class_token

    def n_layers(self, tower: names.Tower) -> int:
        """Return how many blocks of a tower have hooks."""
        return len(self._specs[tower].block_paths)

    @property
    def logit_scale(self) -> Tensor:
        """The model's own learnt log of the inverse temperature, a scalar parameter."""
        return self.clip.logit_scale  # type: ignore[return-value]

    @property
    def logit_bias(self) -> Tensor | None:
        """The model's own learnt bias of the logits, which only some have."""
        return getattr(self.clip, "logit_bias", None)

    def forward(
        self,
        images: Float[Tensor, "batch 3 height width"] | Sequence[Any] | None = None,
        texts: Int[Tensor, "batch ctx"] | Sequence[str] | str | None = None,
        normalize: bool = True,
        stop_at_layer: int | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Embed images, captions or both.

        Parameters
        ----------
        images
            Preprocessed pixels (cast to the weights' device and dtype; gradients flow through),
            or a list of PIL images.
        texts
            Token ids, or captions to be tokenised.
        normalize
            Return unit vectors (``hook_normalized``) rather than ``hook_proj``. With ``False``
            ``hook_normalized`` is not on the way and does not fire.
        stop_at_layer
            Run only blocks before this one and return the residual stream that enters it, in the
            manner of TransformerLens; negative numbers count from the last block.

        Returns
        -------
        tuple
            Image features and text features, ``[batch, d_joint]`` each, or ``None`` for what was
            not given. With ``stop_at_layer``: residual streams, ``[batch, token, d_model]``.

        Raises
        ------
        UserError
            If neither is given, captions come as strings without a tokenizer, shapes are wrong,
            or a tower has no such layer.
        """
        if images is None and texts is None:
            raise UserError("Nothing to embed: give images=…, texts=… or both.")
        # Inputs of both towers are checked before either runs.
        pixels = None if images is None else self.to_pixels(images)
        tokens = None if texts is None else self.to_tokens(texts)
        stop_vision = None if pixels is None else self._layer_index(names.VISION, stop_at_layer)
        stop_text = None if tokens is None else self._layer_index(names.TEXT, stop_at_layer)
        image_features = text_features = None
        if pixels is not None:
            image_features = self._run_tower(names.VISION, pixels, None, normalize, stop_vision)
        if tokens is not None:
            text_features = self._run_tower(names.TEXT, tokens, tokens, normalize, stop_text)
        return image_features, text_features

    def encode_image(
        self,
        image: Float[Tensor, "batch 3 height width"] | Sequence[Any],
        normalize: bool = False,
    ) -> Float[Tensor, "batch d_joint"]:
        """Embed images alone, through the hooks; as in open_clip, not normalised by default."""
        features, _ = self(images=image, normalize=normalize)
        return features

    def encode_text(
        self,
        text: Int[Tensor, "batch ctx"] | Sequence[str] | str,
        normalize: bool = False,
    ) -> Float[Tensor, "batch d_joint"]:
        """Embed captions alone, through the hooks; as in open_clip, not normalised by default."""
        _, features = self(texts=text, normalize=normalize)
        return features

    def to_tokens(
        self, texts: Int[Tensor, "batch ctx"] | Sequence[str] | str
    ) -> Int[Tensor, "batch ctx"]:
        """Return token ids of captions, on the model's device."""
        return as_tokens(texts, self.tokenizer).to(self.device)

    def to_pixels(
        self, images: Float[Tensor, "batch 3 height width"] | Sequence[Any]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Return the pixels of PIL images, on the model's device and in its dtype."""
        return as_pixels(images, self.preprocess).to(self.device, self.dtype)

    def hook_shapes(self) -> dict[str, tuple[str | int, ...]]:
        """Return hook name -> shape for one input, measured by a forward pass of one blank pair.

        The first entry of every shape is ``"batch"``, such as ``("batch", 50, 768)``.
        """
        height, width = self._cfg.image_size
        pixels = torch.zeros(1, 3, height, width)
        # Not zero, which some tokenizers use for padding: all-padding rows may be masked away.
        tokens = torch.ones(1, self._cfg.context_length, dtype=torch.long)
        with torch.no_grad():
            _, cache = self.run_with_cache(images=pixels, texts=tokens)
        return {name: ("batch", *cache[name].shape[1:]) for name in self.hook_dict if name in cache}

    def check_hook(self, name: str) -> None:
        """Raise ``UserError`` with the nearest names when there is no such hook."""
        if name in self.hook_dict:
            return
        if name in self._spliced:
            raise UserError(
                f"An SAE is spliced in at {name!r}: hook {name + '.hook_sae_acts_post'!r} or "
                "another of its own hook points, or detach it with reset_saes()."
            )
        nearest = names.nearest_names(name, self.hook_dict)
        hint = f"did you mean {nearest}?" if nearest else "mm-sae hooks lists them all."
        raise UserError(f"{self._cfg.model_name} has no hook {name!r}: {hint}")

    def setup(self) -> None:
        """Rebuild ``mod_dict`` and ``hook_dict`` from the hook points of both towers.

        Unlike TransformerLens' own, it leaves the wrapped model's modules alone: naming a module
        means setting an attribute on it.
        """
        self.mod_dict = {}
        self.hook_dict = {}
        for tower in names.TOWERS:
            for name, module in getattr(self, tower).named_modules(prefix=tower):
                module.name = name
                self.mod_dict[name] = module
                if isinstance(module, HookPoint):
                    self.hook_dict[name] = module

    def _run_tower(
        self,
        tower: names.Tower,
        inputs: Tensor,
        tokens: Tensor | None,
        normalize: bool,
        stop_at_layer: int | None,
    ) -> Tensor:
        tree: HookTree = getattr(self, tower)
        family = self.family
        encode = family.encode_image if tower == names.VISION else family.encode_text
        try:
            with (
                size_explained(inputs, self._cfg),
                routed(self.clip, tree, self._specs[tower], tokens, stop_at_layer),
            ):
                features = encode(self.clip, inputs)
        except EarlyStop as stop:
            return stop.resid_btd
        # No module of a plain CLIP emits its text's joint embedding, so for every family the
        # joint sites are passed here, between the wrapped model and the caller.
        features = tree.point(names.HOOK_PROJ)(features)
        if not normalize:
            return features
        return tree.point(names.HOOK_NORMALIZED)(family.normalize(features))

    def _layer_index(self, tower: names.Tower, stop_at_layer: int | None) -> int | None:
        if stop_at_layer is None:
            return None
        n_layers = self.n_layers(tower)
        if not n_layers:
            raise UserError(
                f"The {tower} tower of {self._cfg.model_name} has no blocks to stop at: "
                "leave stop_at_layer out."
            )
        layer = stop_at_layer + n_layers if stop_at_layer < 0 else stop_at_layer
        if not 0 <= layer <= n_layers:
            raise UserError(
                f"stop_at_layer={stop_at_layer}, but the {tower} tower has {n_layers} layers: "
                f"give a number from {-n_layers} to {n_layers}."
            )
        return layer

    def _place(self, name: str, module: nn.Module) -> nn.Module:
        owner_path, _, site = name.rpartition(".")
        owner = self.get_submodule(owner_path)
        previous = getattr(owner, site)
        setattr(owner, site, module)
        return previous

    def _hook_width(self, name: str) -> int | None:
        site = name.rsplit(".", 1)[-1]
        if site in names.JOINT_SITES:
            return self._cfg.d_joint
        if site in (names.HOOK_POOLED, names.HOOK_MLP_POST):
            return None
        return self._specs[names.tower_of(name)].d_model

    def _describe(self, name: str) -> HookedCLIPConfig:
        vision, text = self._specs[names.VISION], self._specs[names.TEXT]
        return HookedCLIPConfig(
            model_name=name,
            weights_id=self.weights_id,
            family=self.family.name,
            d_joint=self.family.d_joint(self.clip),
            d_vision=vision.d_model,
            d_text=text.d_model,
            n_layers_vision=len(vision.block_paths),
            n_layers_text=len(text.block_paths),
            image_size=self.family.image_size(self.clip),
            context_length=self.family.context_length(self.clip),
            device="",
            dtype="",
        )
