"""Routes: where in a wrapped model each hook point reads and writes.

A route names a module of the wrapped model by its path and, while one forward pass lasts,
passes what flows there through a hook point. Outside a forward pass nothing is attached, so
the wrapped model is exactly what its authors wrote; and only hook points that somebody uses
are attached at all, so the others cost nothing.

Routes hold paths and module-level functions, never modules or closures: that keeps a
``HookedCLIP`` copyable and picklable, and lets a submodule be replaced after wrapping.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from mm_sae_plugin.errors import UserError

Pass = Callable[[Tensor], Tensor]
"""Sends an activation through a hook point and returns what came out."""
Undo = Callable[[], None]
Positions = Callable[[nn.Module, Int[Tensor, "batch ctx"], int], Int[Tensor, "batch"]]
"""``(clip, tokens, n_tokens) -> position of the pooled token`` of every caption."""


class Route(Protocol):
    """How one hook point is connected to a wrapped model."""

    @property
    def path(self) -> str:
        """Path of the module that is attached to, inside the wrapped model."""
        ...

    def install(self, clip: nn.Module, through: Pass, tokens: Tensor | None) -> Undo:
        """Attach to ``clip`` until the returned function is called."""
        ...


@dataclass(frozen=True)
class OutputRoute:
    """The output of a module, or the first element where it returns a tuple."""

    path: str
    """Path of the module inside the wrapped model."""
    batch_first: bool = True
    """Whether tokens run as [batch, token, d] there, rather than [token, batch, d]."""

    def install(self, clip: nn.Module, through: Pass, tokens: Tensor | None) -> Undo:
        """Attach to ``clip`` until the returned function is called."""

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (_in_batch_layout(through, output[0], self.batch_first), *output[1:])
            return _in_batch_layout(through, output, self.batch_first)

        return clip.get_submodule(self.path).register_forward_hook(hook).remove


@dataclass(frozen=True)
class InputRoute:
    """The first argument of a module, whether it is passed by position or by keyword."""

    path: str
    """Path of the module inside the wrapped model."""
    batch_first: bool = True
    """Whether tokens run as [batch, token, d] there, rather than [token, batch, d]."""

    def install(self, clip: nn.Module, through: Pass, tokens: Tensor | None) -> Undo:
        """Attach to ``clip`` until the returned function is called."""

        def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            if args:
                return (_in_batch_layout(through, args[0], self.batch_first), *args[1:]), kwargs
            first = next(iter(kwargs))
            edited = _in_batch_layout(through, kwargs[first], self.batch_first)
            return args, {**kwargs, first: edited}

        module = clip.get_submodule(self.path)
        return module.register_forward_pre_hook(hook, with_kwargs=True).remove


@dataclass(frozen=True)
class MethodRoute:
    """The first element that a *method* returns, for a step that is no module of its own."""

    path: str
    """Path of the module that owns the method."""
    method: str
    """The method's name."""

    def install(self, clip: nn.Module, through: Pass, tokens: Tensor | None) -> Undo:
        """Attach to ``clip`` until the returned function is called."""
        owner = clip.get_submodule(self.path)
        original = getattr(owner, self.method)

        def routed(*args: Any, **kwargs: Any) -> Any:
            first, *rest = original(*args, **kwargs)
            return (through(first), *rest)

        # The instance attribute shadows the class's method and is taken away again.
        owner.__dict__[self.method] = routed
        return lambda: owner.__dict__.pop(self.method, None)  # type: ignore[return-value]


@dataclass(frozen=True)
class PositionRoute:
    """One row per caption out of a module's [batch, token, d] output.

    Models pick the pooled text token with plain indexing, which no module hook can see. So the
    row is read here, passed through the hook point and written back, and the model's own
    indexing then finds the edited row.
    """

    path: str
    """Path of the module whose output is indexed by the model right afterwards."""
    positions: Positions
    """A module-level function that finds the row the model will pick."""

    def install(self, clip: nn.Module, through: Pass, tokens: Tensor | None) -> Undo:
        """Attach to ``clip`` until the returned function is called."""
        assert tokens is not None, "a pooled text token needs the caption's tokens"

        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            position_b = self.positions(clip, tokens, output.shape[1])
            row_b = torch.arange(len(output), device=output.device)
            pooled_bd = output[row_b, position_b]
            edited_bd = through(pooled_bd)
            if edited_bd is pooled_bd:
                return output
            return output.index_put((row_b, position_b), edited_bd)

        return clip.get_submodule(self.path).register_forward_hook(hook).remove


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
    """Whether the first token of every block is a class token."""
    batch_first: bool = True
    """Whether the blocks run as [batch, token, d]."""


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
        If a part that is hooked is compiled, and would run without the hooks, or if the backward
        pass would recompute blocks, when nothing is connected any more.
    """
    used = [site for site in spec.routes if _is_used(tree.point(site))]
    for site in used:
        _refuse_compiled(clip, spec.routes[site].path, site)
    if stop_at_layer is not None:
        _refuse_compiled(clip, spec.block_paths[min(stop_at_layer, len(spec.block_paths) - 1)], "")
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


def is_compiled(module: nn.Module) -> bool:
    """Whether a module runs as compiled or scripted code, which knows no hook set afterwards."""
    # Read from the instance: a compiled wrapper answers for what it wraps.
    return (
        module.__dict__.get("_compiled_call_impl") is not None
        or "_orig_mod" in module._modules
        or isinstance(module, torch.jit.ScriptModule)
    )


def refuse_compiled_parts(clip: nn.Module) -> None:
    """Refuse a model with a compiled or scripted part, whose own parts cannot be seen.

    Raises
    ------
    UserError
        Naming the part.
    """
    for path, module in clip.named_modules():
        if path and ("_orig_mod" in module._modules or isinstance(module, torch.jit.ScriptModule)):
            raise UserError(
                f"{path!r} of this model is compiled or scripted and would run without hooks: "
                "wrap the model before this part is compiled, or take the part out of its wrapper."
            )


def _refuse_compiled(clip: nn.Module, path: str, site: str) -> None:
    """Refuse a path on which a module is compiled; the root itself is run by its methods."""
    parts = path.split(".")
    for depth in range(1, len(parts) + 1):
        owner = ".".join(parts[:depth])
        if is_compiled(clip.get_submodule(owner)):
            raise UserError(
                f"{owner!r} of the wrapped model is compiled and would run without the hook "
                f"{site or 'that stops it'!r}: wrap the model without compiling this part."
            )


def _through(tree: HookTree, site: str) -> Pass:
    def through(activation: Tensor) -> Tensor:
        return tree.point(site)(activation)

    return through


def _is_used(point: nn.Module) -> bool:
    """Say whether passing an activation through ``point`` can have any effect."""
    if type(point) is not HookPoint:
        return True
    return bool(
        point._forward_hooks
        or point._forward_pre_hooks
        or point._backward_hooks
        or point._backward_pre_hooks
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
        return last.install(clip, stop, None)

    module = clip.get_submodule(spec.block_paths[layer])

    def before(module: nn.Module, args: tuple, kwargs: dict) -> None:
        resid = args[0] if args else next(iter(kwargs.values()))
        _in_batch_layout(stop, resid, spec.batch_first)

    # First in line: `blocks.{layer}` is not entered, so none of its own hooks may fire.
    return module.register_forward_pre_hook(before, prepend=True, with_kwargs=True).remove


def _in_batch_layout(through: Pass, activation: Tensor, batch_first: bool) -> Tensor:
    if batch_first:
        return through(activation)
    return through(activation.transpose(0, 1)).transpose(0, 1)
