"""Routes on any module: what they read, what they write, and that they go away."""

import dataclasses
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.inspection import compiled_owner, has_hooks, is_compiled, uncompiled
from mm_sae_plugin.hooks.routes import InputRoute, MethodRoute, OutputRoute, PositionRoute, Route

Pair = namedtuple("Pair", ["first", "second"])


class Adder(nn.Module):
    """Gives back what it was given, in one of several forms."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form

    def forward(self, left: Tensor, right: Tensor) -> Any:
        forms = {"tensor": left + right, "tuple": (left, right), "named": Pair(left, right)}
        return {**forms, "dict": {"left": left}, "mixed": (left, "word")}[self.form]


class Root(nn.Module):
    def __init__(self, form: str = "tensor", by_keyword: bool = False) -> None:
        super().__init__()
        self.part = Adder(form)
        self.by_keyword = by_keyword

    def pool(self, left: Tensor, right: Tensor) -> Any:
        return Pair(left, right)

    def forward(self, left: Tensor, right: Tensor) -> Any:
        if self.by_keyword:
            return self.part(left, right=right)
        return self.part(left, right)


ONES, TWOS = torch.ones(2, 3), torch.full((2, 3), 2.0)


def times_ten(activation: Tensor) -> Tensor:
    return activation * 10


@pytest.mark.parametrize("by_keyword", [False, True])
@pytest.mark.parametrize(("item", "expected"), [(0, 12.0), (1, 21.0)])
def test_any_argument_is_edited(by_keyword: bool, item: int, expected: float) -> None:
    root = Root(by_keyword=by_keyword)
    undo = InputRoute("part", item=item).install(root, times_ten)
    assert torch.equal(root(ONES, TWOS), torch.full((2, 3), expected))
    undo()
    assert torch.equal(root(ONES, TWOS), ONES + TWOS)
    assert not has_hooks(root.part)


def test_an_argument_that_a_call_leaves_out_is_not_edited() -> None:
    class Optional(nn.Module):
        def forward(self, first: Tensor, second: Tensor | None = None, third: Any = None) -> Any:
            return first, second, third

    module = Optional()
    undo = InputRoute("", item="second").install(module, times_ten)
    assert module(ONES, third=TWOS) == (ONES, None, TWOS)
    assert float(module(ONES, third=ONES, second=TWOS)[1][0, 0]) == 20.0
    undo()


@pytest.mark.parametrize(("item", "edited"), [(-1, (1.0, 20.0)), (-2, (10.0, 2.0))])
def test_items_count_from_the_end_too(item: int, edited: tuple[float, float]) -> None:
    root = Root("tuple")
    undo = OutputRoute("part", item=item).install(root, times_ten)
    assert tuple(float(part[0, 0]) for part in root(ONES, TWOS)) == edited
    undo()
    undo = InputRoute("part", item=item).install(root, times_ten)
    assert tuple(float(part[0, 0]) for part in root(ONES, TWOS)) == edited
    undo()
    # Where a tensor flows it is the first item, and the last.
    undo = OutputRoute("part", item=-1).install(root := Root(), times_ten)
    assert float(root(ONES, TWOS)[0, 0]) == 30.0
    undo()


def test_lists_and_dataclasses_with_slots() -> None:
    @dataclasses.dataclass(frozen=True, slots=True)
    class Slots:
        kept: str
        vector: Tensor

    class Given(nn.Module):
        def __init__(self, value: Any) -> None:
            super().__init__()
            self.value = value

        def forward(self) -> Any:
            return self.value

    value: Any
    item: int | str
    for value, item in (([1, ONES], 1), (Slots("kept", ONES), "vector")):
        module = Given(value)
        undo = OutputRoute("", item=item).install(module, times_ten)
        changed = module()
        undo()
        assert type(changed) is type(value) and module() is value
        assert float((changed[1] if item == 1 else changed.vector)[0, 0]) == 10.0


@pytest.mark.parametrize("form", ["tuple", "named"])
@pytest.mark.parametrize("item", [0, 1])
def test_any_item_of_a_tuple_is_edited_and_the_tuple_keeps_its_kind(form: str, item: int) -> None:
    root = Root(form)
    undo = OutputRoute("part", item=item).install(root, times_ten)
    output = root(ONES, TWOS)
    assert isinstance(output, Pair if form == "named" else tuple)
    assert [float(part[0, 0]) for part in output] == [10.0 if item == 0 else 1.0, 2.0 * 10**item]
    undo()
    assert torch.equal(root(ONES, TWOS)[item], (ONES, TWOS)[item])


def test_a_method_is_edited_and_comes_back() -> None:
    root = Root()
    undo = MethodRoute("", "pool", item=1).install(root, times_ten)
    assert float(root.pool(ONES, TWOS).second[0, 0]) == 20.0
    undo()
    assert "pool" not in root.__dict__ and float(root.pool(ONES, TWOS).second[0, 0]) == 2.0


def test_methods_come_back_in_whatever_order_their_routes_go() -> None:
    root = Root()
    first = MethodRoute("", "pool", item=0).install(root, times_ten)
    second = MethodRoute("", "pool", item=1).install(root, times_ten)
    assert [float(part[0, 0]) for part in root.pool(ONES, TWOS)] == [10.0, 20.0]
    first()
    assert [float(part[0, 0]) for part in root.pool(ONES, TWOS)] == [1.0, 20.0]
    second()
    assert "pool" not in root.__dict__


def last(root: nn.Module, tokens: Tensor, n_tokens: int) -> Tensor:
    return torch.full((len(tokens),), n_tokens - 1)


def test_one_position_is_edited() -> None:
    root = nn.Sequential(nn.Identity())
    acts = torch.arange(12.0).reshape(2, 3, 2)
    undo = PositionRoute("0", last).install(root, times_ten, torch.zeros(2, 3, dtype=torch.long))
    edited = root(acts)
    assert torch.equal(edited[:, :2], acts[:, :2]) and torch.equal(edited[:, 2], acts[:, 2] * 10)
    undo()
    assert root(acts) is acts


def test_token_first_parts_are_seen_batch_first() -> None:
    root = nn.Sequential(nn.Identity())
    seen: list[tuple[int, ...]] = []

    def note(activation: Tensor) -> Tensor:
        seen.append(tuple(activation.shape))
        return activation

    acts_tbd = torch.randn(5, 2, 3)
    OutputRoute("0", batch_first=False).install(root, note)
    InputRoute("0", batch_first=False).install(root, note)
    assert torch.equal(root(acts_tbd), acts_tbd)
    assert seen == [(2, 5, 3), (2, 5, 3)]


@pytest.mark.parametrize(
    ("form", "item", "message"),
    [
        ("tensor", 1, r"no item 1 at 'part', where a Tensor \(no tuple\) flows"),
        ("tuple", 2, r"no item 2 at 'part', where a tuple \(2 items\) flows"),
        ("dict", 0, r"no item 0 at 'part', where a dict"),
        ("mixed", 1, r"Item 1 at 'part' is a str, not a tensor"),
    ],
)
def test_what_is_no_tensor_is_named(form: str, item: int, message: str) -> None:
    root = Root(form)
    OutputRoute("part", item=item).install(root, times_ten)
    with pytest.raises(UserError, match=message):
        root(ONES, TWOS)


def test_every_route_is_one() -> None:
    for route in (
        OutputRoute("a"),
        InputRoute("a"),
        MethodRoute("a", "b"),
        PositionRoute("a", last),
    ):
        assert isinstance(route, Route)


def test_hooks_of_every_kind_are_found() -> None:
    part = nn.Linear(2, 2)
    assert not has_hooks(part)
    for attach in (
        part.register_forward_hook,
        part.register_forward_pre_hook,
        part.register_full_backward_hook,
        part.register_full_backward_pre_hook,
    ):
        handle = attach(lambda *call: None)
        assert has_hooks(part)
        handle.remove()
        assert not has_hooks(part)


def test_compiled_parts_are_found() -> None:
    root = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2), nn.Linear(2, 2))
    assert compiled_owner(root, "0.0") is None
    root[0].compile(backend="eager")
    inner = root[1]
    root[1] = torch.compile(root[1], backend="eager")  # type: ignore[assignment]
    root[2] = torch.jit.script(root[2])
    assert compiled_owner(root, "0.0") == "0"
    assert compiled_owner(root, "1") == "1" and compiled_owner(root, "2") == "2"
    assert uncompiled(root[1]) is inner and uncompiled(inner) is inner
    assert not is_compiled(inner) and not is_compiled(root)


class Nested(nn.Module):
    """Takes what diffusers' UNets take, and shows what reached it."""

    def forward(self, sample: Tensor, added: dict[str, Any] | None = None) -> Any:
        return sample, added


def _nested() -> dict[str, Any]:
    return {"embeds": [ONES, TWOS], "time.ids": ONES, "pair": Pair(ONES, TWOS)}


@pytest.mark.parametrize("by_keyword", [False, True])
@pytest.mark.parametrize(
    ("item", "read"),
    [
        ("added.embeds.0", lambda added: added["embeds"][0]),
        ("added.embeds.-1", lambda added: added["embeds"][1]),
        ("added.pair.second", lambda added: added["pair"].second),
        ("added.time.ids", lambda added: added["time.ids"]),
    ],
)
def test_dots_reach_into_an_argument(by_keyword: bool, item: str, read: Any) -> None:
    module, given = Nested(), _nested()
    undo = InputRoute("", item=item).install(module, times_ten)
    _, added = module(ONES, added=given) if by_keyword else module(ONES, given)
    assert torch.equal(read(added), read(_nested()) * 10)
    # What was given is shared with later calls, so a copy is changed.
    assert torch.equal(read(given), read(_nested()))
    assert type(added["pair"]) is Pair and len(added["embeds"]) == 2
    undo()
    assert module(ONES, given)[1] is given


def test_dots_reach_into_an_output() -> None:
    module = Nested()
    undo = OutputRoute("", item="1.embeds.1").install(module, times_ten)
    assert float(module(ONES, _nested())[1]["embeds"][1][0, 0]) == 20
    undo()


@pytest.mark.parametrize(
    ("item", "given", "told"),
    [
        ("added.image", _nested(), "no item 'image' at '', where a dict flows: it has embeds"),
        ("added.embeds.2", _nested(), r"no item 2 at '', where a list \(2 items\) flows"),
        ("added.embeds", _nested(), "Item embeds at '' is a list, not a tensor"),
        ("added.embeds", None, "no item 'embeds' at '', where a NoneType flows"),
    ],
)
def test_wrong_ways_into_an_argument_are_told(item: str, given: Any, told: str) -> None:
    module = Nested()
    undo = InputRoute("", item=item).install(module, times_ten)
    with pytest.raises(UserError, match=told):
        module(ONES, added=given)
    undo()
