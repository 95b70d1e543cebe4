"""Routes: where in a module a hook reads and writes.

A route names a part of a module by its path and, while one forward pass lasts, passes what flows
there through a function. Outside a forward pass nothing is attached, so the module is exactly
what its authors wrote.

Routes hold paths and module-level functions, never modules or closures: that keeps what holds
them copyable and picklable, and lets a part be replaced later.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, is_dataclass
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
    item: int | str = 0
    """Which item of a tuple, or field of a dataclass or dict."""

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
    item: int | str = 0
    """Which argument: in the order of the call, or by its name; dots reach into it, as in
    ``"added_cond_kwargs.image_embeds.0"``."""

    def install(self, root: nn.Module, through: Pass, tokens: Tensor | None = None) -> Undo:
        """Attach to a part of ``root`` until the returned function is called."""
        through = in_batch_layout(through, self.batch_first)

        def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            if isinstance(self.item, str):
                name, further = _first(self.item, kwargs)
                if name in kwargs:
                    return args, _with_field(kwargs, self.item, through, self.path)
                position = _position(module, name)
                # This call leaves it out, so nothing passes.
                if position >= len(args):
                    return args, kwargs
                item = f"{position}.{further}" if further else position
                return _with_item(args, item, through, self.path), kwargs
            else:
                item = self.item + (len(args) + len(kwargs) if self.item < 0 else 0)
            if item < len(args):
                return _with_item(args, item, through, self.path), kwargs
            values = _with_item(tuple(kwargs.values()), item - len(args), through, self.path)
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
    item: int | str = 0
    """Which item of a tuple, or field of a dataclass or dict."""

    def install(self, root: nn.Module, through: Pass, tokens: Tensor | None = None) -> Undo:
        """Attach to a part of ``root`` until the returned function is called."""
        owner = root.get_submodule(self.path)
        routed = owner.__dict__.get(self.method)
        if not isinstance(routed, _RoutedMethod):
            routed = _RoutedMethod(owner, self.method)
        return routed.attach(self, through)


class _RoutedMethod:
    """A method of one module with everything that is attached to it, in whatever order it goes.

    It is an attribute of the instance and shadows the class's method; with the last route it is
    taken away again.
    """

    def __init__(self, owner: nn.Module, method: str) -> None:
        self._owner, self._method = owner, method
        self._before = owner.__dict__.get(method)
        self._original = getattr(owner, method)
        self._attached: list[tuple[MethodRoute, Pass]] = []
        owner.__dict__[method] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self._original(*args, **kwargs)
        for route, through in tuple(self._attached):
            where = f"{route.path}.{route.method}"
            output = _with_item(output, route.item, through, where)
        return output

    def attach(self, route: MethodRoute, through: Pass) -> Undo:
        """Add a route, until the returned function is called."""
        entry = (route, through)
        self._attached.append(entry)

        def undo() -> None:
            self._attached[:] = [kept for kept in self._attached if kept is not entry]
            if self._attached or self._owner.__dict__.get(self._method) is not self:
                return
            if self._before is None:
                del self._owner.__dict__[self._method]
            else:
                self._owner.__dict__[self._method] = self._before

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


def _with_item(output: Any, item: int | str, through: Pass, path: str) -> Any:
    """Return what flows at ``path`` with one item passed through the hook."""
    if isinstance(output, Tensor) and item in (0, -1):
        return through(output)
    if isinstance(item, int) and isinstance(output, Mapping) and is_dataclass(output):
        # What transformers return is a dict whose fields have an order, too.
        item = list(output)[item] if -len(output) <= item < len(output) else item
    is_row = isinstance(output, tuple | list)
    further = ""
    if isinstance(item, str):
        name, further = _first(item, ())
        if not is_row or not name.lstrip("-").isdigit():
            return _with_field(output, item, through, path)
        item = int(name)
    if not is_row or not -len(output) <= item < len(output):
        n_items = f"{len(output)} items" if is_row else "no tuple"
        raise UserError(
            f"There is no item {item} at {path!r}, where a {type(output).__name__} ({n_items}) "
            "flows: hook another part, or another item of this one."
        )
    items = list(output)
    items[item] = _passed(output[item], item, further, through, path)
    # A named tuple stays one.
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


def _with_field(output: Any, name: str, through: Pass, path: str) -> Any:
    """The same for a field of a dict, a dataclass or a named tuple; a copy is changed."""
    is_mapping = isinstance(output, Mapping)
    fields = output if is_mapping else _field_names(output)
    name, further = _first(name, fields)
    if name not in fields:
        raise UserError(
            f"There is no item {name!r} at {path!r}, where a {type(output).__name__} flows: it has "
            f"{', '.join(map(str, fields)) or 'none by name'}."
        )
    value = output[name] if is_mapping else getattr(output, name)
    passed = _passed(value, name, further, through, path)
    if hasattr(output, "_fields"):
        return output._replace(**{name: passed})
    changed: Any = copy.copy(output)
    if is_mapping:
        changed[name] = passed
    else:
        # Frozen dataclasses, too.
        object.__setattr__(changed, name, passed)
    return changed


def _field_names(output: Any) -> Collection[str]:
    # Dataclasses with slots have no __dict__.
    if is_dataclass(output):
        return [field.name for field in dataclasses.fields(output)]
    return getattr(output, "_fields", getattr(output, "__dict__", ()))


def _first(item: str, fields: Collection[str]) -> tuple[str, str]:
    """Split ``"a.b.c"`` into ``"a"`` and ``"b.c"``, unless a field is really called so."""
    if item in fields:
        return item, ""
    name, _, further = item.partition(".")
    return name, further


def _passed(value: Any, item: int | str, further: str, through: Pass, path: str) -> Any:
    if further:
        return _with_item(value, further, through, path)
    if not isinstance(value, Tensor):
        raise UserError(
            f"Item {item} at {path!r} is a {type(value).__name__}, not a tensor: hook another item."
        )
    return through(value)


def _position(module: nn.Module, name: str) -> int:
    """Which argument of a module's ``forward`` has this name."""
    names = list(inspect.signature(module.forward).parameters)
    if name not in names:
        raise UserError(
            f"{type(module).__name__} takes no argument {name!r}: it takes {', '.join(names)}."
        )
    return names.index(name)
