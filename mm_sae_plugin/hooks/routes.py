"""Routes: where in a module a hook reads and writes.

A route names a part of a module by its path and, while one forward pass lasts, passes what flows
there through a function. Outside a forward pass nothing is attached, so the module is exactly
what its authors wrote.

Routes hold paths and module-level functions, never modules or closures: that keeps what holds
them copyable and picklable, and lets a part be replaced later.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError

Pass = Callable[[Tensor], Tensor]
"""Sends an activation through a hook and returns what came out."""
Undo = Callable[[], None]
Positions = Callable[[nn.Module, Int[Tensor, "batch ctx"], int], Int[Tensor, "batch"]]
"""``(root, tokens, n_tokens) -> position of the wanted token`` of every caption."""


@runtime_checkable
class Route(Protocol):
    """How one hook is connected to a part of a module."""

    @property
    def path(self) -> str:
        """Path of the part that is attached to."""
        ...

    def install(self, root: nn.Module, through: Pass, tokens: Tensor | None = None) -> Undo:
        """Attach to a part of ``root`` until the returned function is called."""
        ...


@dataclass(frozen=True)
class OutputRoute:
    """The output of a module, or one item of it where it returns a tuple."""

    path: str
    """Path of the module inside the root."""
    batch_first: bool = True
    """Whether tokens run as [batch, token, d] there, rather than [token, batch, d]."""
    item: int = 0
    """Which item of a tuple."""

    def install(self, root: nn.Module, through: Pass, tokens: Tensor | None = None) -> Undo:
        """Attach to a part of ``root`` until the returned function is called."""
        through = in_batch_layout(through, self.batch_first)

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            return _with_item(output, self.item, through, self.path)

        return root.get_submodule(self.path).register_forward_hook(hook).remove


@dataclass(frozen=True)
class InputRoute:
    """An argument of a module, whether it is passed by position or by keyword."""

    path: str
    """Path of the module inside the root."""
    batch_first: bool = True
    """Whether tokens run as [batch, token, d] there, rather than [token, batch, d]."""
    item: int = 0
    """Which argument, in the order of the call."""

    def install(self, root: nn.Module, through: Pass, tokens: Tensor | None = None) -> Undo:
        """Attach to a part of ``root`` until the returned function is called."""
        through = in_batch_layout(through, self.batch_first)

        def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            if self.item < len(args):
                return _with_item(args, self.item, through, self.path), kwargs
            values = _with_item(tuple(kwargs.values()), self.item - len(args), through, self.path)
            return args, dict(zip(kwargs, values, strict=True))

        part = root.get_submodule(self.path)
        return part.register_forward_pre_hook(hook, with_kwargs=True).remove


@dataclass(frozen=True)
class MethodRoute:
    """What a *method* returns, or one item of it, for a step that is no module of its own."""

    path: str
    """Path of the module that owns the method."""
    method: str
    """The method's name."""
    item: int = 0
    """Which item of a tuple."""

    def install(self, root: nn.Module, through: Pass, tokens: Tensor | None = None) -> Undo:
        """Attach to a part of ``root`` until the returned function is called."""
        owner = root.get_submodule(self.path)
        original = getattr(owner, self.method)

        def routed(*args: Any, **kwargs: Any) -> Any:
            output = original(*args, **kwargs)
            return _with_item(output, self.item, through, f"{self.path}.{self.method}")

        def undo() -> None:
            owner.__dict__.pop(self.method, None)

        # The instance attribute shadows the class's method and is taken away again.
        owner.__dict__[self.method] = routed
        return undo


@dataclass(frozen=True)
class PositionRoute:
    """One row per caption out of a module's [batch, token, d] output.

    Models pick the pooled text token with plain indexing, which no module hook can see. So the
    row is read here, passed through the hook and written back, and the model's own indexing then
    finds the edited row.
    """

    path: str
    """Path of the module whose output is indexed by the model right afterwards."""
    positions: Positions
    """A module-level function that finds the row the model will pick."""

    def install(self, root: nn.Module, through: Pass, tokens: Tensor | None = None) -> Undo:
        """Attach to a part of ``root`` until the returned function is called."""
        assert tokens is not None, "a pooled text token needs the caption's tokens"

        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            position_b = self.positions(root, tokens, output.shape[1])
            row_b = torch.arange(len(output), device=output.device)
            pooled_bd = output[row_b, position_b]
            edited_bd = through(pooled_bd)
            if edited_bd is pooled_bd:
                return output
            return output.index_put((row_b, position_b), edited_bd)

        return root.get_submodule(self.path).register_forward_hook(hook).remove


def in_batch_layout(through: Pass, batch_first: bool) -> Pass:
    """Return ``through`` for what flows as [token, batch, d] where ``batch_first`` is false."""
    if batch_first:
        return through
    return lambda acts_tbd: through(acts_tbd.transpose(0, 1)).transpose(0, 1)


def _with_item(output: Any, item: int, through: Pass, path: str) -> Any:
    """Return what flows at ``path`` with one item passed through the hook."""
    if isinstance(output, Tensor) and item == 0:
        return through(output)
    if not isinstance(output, tuple) or not item < len(output):
        n_items = f"{len(output)} items" if isinstance(output, tuple) else "no tuple"
        raise UserError(
            f"There is no item {item} at {path!r}, where a {type(output).__name__} ({n_items}) "
            "flows: hook another part, or another item of this one."
        )
    if not isinstance(output[item], Tensor):
        raise UserError(
            f"Item {item} at {path!r} is a {type(output[item]).__name__}, not a tensor: hook "
            "another item."
        )
    items = (*output[:item], through(output[item]), *output[item + 1 :])
    # A named tuple stays one.
    return type(output)(*items) if hasattr(output, "_fields") else items
