"""A tower: where its hook points lie, and how they are connected while a forward pass lasts.

Only hook points that somebody uses are attached at all, so the others cost nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.inspection import compiled_owner, has_hooks
from mm_sae_plugin.hooks.routes import OutputRoute, Pass, Route, Undo, in_batch_layout


@dataclass(frozen=True)
class TowerSpec:
    """One tower of one family: its routes, its blocks and its width."""

    routes: Mapping[str, Route] = field(default_factory=dict)
    """Site name relative to the tower -> route, in the order in which they fire. The joint
    sites are not here: the towers' outputs pass through those outside the wrapped model."""
    block_paths: Sequence[str] = ()
    """Paths of the residual blocks, first to last."""
    d_model: int | None = None
    """Width of the residual stream."""
    has_class_token: bool = False
    """Whether the first token of the residual stream is a class token."""
    n_prefix_tokens: int = 0
    """Tokens of the residual stream before the first patch: class and register tokens."""
    batch_first: bool = True
    """Whether the blocks run as [batch, token, d]."""
    blocks_use_positions: bool = False
    """Whether blocks are told where a token lies (by rotation or a relative bias)."""


class HookTree(nn.Module):
    """Hook points of one tower, laid out so that attribute paths are the hook names."""

    def __init__(self, sites: Sequence[str], n_blocks: int) -> None:
        super().__init__()
        for site in sites:
            owner, _, name = site.rpartition(".")
            # Made when first needed, so that modules stand in the order in which hooks fire.
            if owner and "blocks" not in self._modules:
                self.blocks = nn.ModuleList(nn.Module() for _ in range(n_blocks))
            setattr(self.get_submodule(owner), name, HookPoint())

    def point(self, site: str) -> nn.Module:
        """Return what stands at ``site`` *now*: a hook point, or an SAE spliced in its place."""
        module: nn.Module = self
        for part in site.split("."):
            module = module._modules[part]  # type: ignore[assignment]
        return module


class EarlyStop(Exception):
    """Carries the residual stream out of a forward pass that need not go on."""

    def __init__(self, resid_btd: Float[Tensor, "batch token d_model"]) -> None:
        super().__init__()
        self.resid_btd = resid_btd


@contextmanager
def routed(
    clip: nn.Module,
    tree: HookTree,
    spec: TowerSpec,
    tokens: Int[Tensor, "batch ctx"] | None = None,
    stop_at_layer: int | None = None,
) -> Iterator[None]:
    """Connect the hook points in use while the block lasts, and disconnect them whatever happens.

    Parameters
    ----------
    clip
        The wrapped model.
    tree, spec
        The tower's hook points and routes.
    tokens
        The captions' token ids, needed by the text tower's pooled site.
    stop_at_layer
        Raise :class:`EarlyStop` with the residual stream that enters this block.

    Raises
    ------
    UserError
        If a part that is hooked is compiled and would run without the hooks, or if the backward
        pass would recompute blocks, when nothing is connected any more.
    """
    used = [site for site in spec.routes if _is_used(tree.point(site))]
    for site in used:
        _refuse_compiled(clip, spec.routes[site].path, f"the hook {site!r}")
    if stop_at_layer is not None:
        last = min(stop_at_layer, len(spec.block_paths) - 1)
        _refuse_compiled(clip, spec.block_paths[last], f"the stop at layer {stop_at_layer}")
    if (used or stop_at_layer is not None) and _recomputes_blocks(clip, spec):
        raise UserError(
            "Gradient checkpointing runs blocks again in the backward pass, without the hooks of "
            "the forward pass, and gradients would be wrong: switch it off in the wrapped model."
        )
    with ExitStack() as stack:
        for site in used:
            # The hook point is looked up when it is called, so that an SAE spliced in by an
            # earlier hook of the same pass is found.
            stack.callback(spec.routes[site].install(clip, _through(tree, site), tokens))
        if stop_at_layer is not None:
            stack.callback(_install_stop(clip, spec, stop_at_layer))
        yield


def _through(tree: HookTree, site: str) -> Pass:
    def through(activation: Tensor) -> Tensor:
        return tree.point(site)(activation)

    return through


def _is_used(point: nn.Module) -> bool:
    """Say whether passing an activation through ``point`` can have any effect."""
    return type(point) is not HookPoint or has_hooks(point)


def _refuse_compiled(clip: nn.Module, path: str, what: str) -> None:
    owner = compiled_owner(clip, path)
    if owner is not None:
        raise UserError(
            f"{owner!r} of the wrapped model is compiled or scripted and would run without {what}: "
            "wrap the model without compiling that part."
        )


def _recomputes_blocks(clip: nn.Module, spec: TowerSpec) -> bool:
    if not torch.is_grad_enabled() or not spec.block_paths:
        return False
    # open_clip and timm keep the switch on a module above the blocks, transformers on the block,
    # where it counts in training mode only.
    parts = spec.block_paths[0].split(".")
    above = [clip.get_submodule(".".join(parts[:depth])) for depth in range(len(parts) + 1)]
    return any(
        getattr(module, "grad_checkpointing", False)
        or (module.training and getattr(module, "gradient_checkpointing", False))
        for module in above
    )


def _install_stop(clip: nn.Module, spec: TowerSpec, layer: int) -> Undo:
    def stop(resid: Tensor) -> Tensor:
        raise EarlyStop(resid)

    # After the last block there is no next block to stop in front of.
    if layer == len(spec.block_paths):
        last = OutputRoute(spec.block_paths[-1], spec.batch_first)
        return last.install(clip, stop)

    stop_here = in_batch_layout(stop, spec.batch_first)

    def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
        stop_here(args[0] if args else next(iter(kwargs.values())))

    # First in line: `blocks.{layer}` is not entered, so none of its own hooks may fire.
    block = clip.get_submodule(spec.block_paths[layer])
    return block.register_forward_pre_hook(before, prepend=True, with_kwargs=True).remove
