"""Pairs of FactorWorld: ``factorworld:N`` or ``factorworld:N:SEED``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.pairs.kinds import SourceKind
from mm_sae_plugin.pairs.records import ImageKey, ListedPairs, PairRecord, ReadOptions

if TYPE_CHECKING:
    from PIL.Image import Image

PREFIX = "factorworld"
_PREFIX_OF_OTHERS = f"{PREFIX}-v"


@dataclass(frozen=True)
class WorldOpener:
    """Draws images of a world."""

    world: FactorWorld
    """The world."""

    def open_image(self, image_key: ImageKey) -> "Image":
        """Draw the image of pair ``image_key``."""
        return self.world.draw(int(image_key))


class WorldRecords(Sequence[PairRecord]):
    """Records of a world, described when they are asked for: a world has no end to list."""

    def __init__(self, world: FactorWorld, n_pairs: int) -> None:
        self._world = world
        self._n_pairs = n_pairs

    def __len__(self) -> int:
        return self._n_pairs

    @overload
    def __getitem__(self, index: int) -> PairRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[PairRecord]: ...
    def __getitem__(self, index: int | slice) -> PairRecord | list[PairRecord]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._n_pairs))]
        number = index + self._n_pairs if index < 0 else index
        if not 0 <= number < self._n_pairs:
            raise IndexError(index)
        caption, labels = self._world.describe(number)
        return PairRecord(number, caption, str(number), labels)


def load_world(spec: str, options: ReadOptions | None = None) -> ListedPairs:
    """Open ``factorworld:N[:SEED]``, which draws its pictures: there is nothing to read."""
    n_pairs, seed = _parse(spec)
    return pairs_of_world(FactorWorld(seed=seed), n_pairs)


def pairs_of_world(world: FactorWorld, n_pairs: int) -> ListedPairs:
    """List the first ``n_pairs`` pairs of a world.

    The ``spec`` of a world with a table of its own names the table's version, so that no other
    world is drawn in its place; ``load_pairs`` does not open it again.
    """
    is_first = world.version == FactorWorld.version
    name = PREFIX if is_first else f"{_PREFIX_OF_OTHERS}{world.version}"
    return ListedPairs(
        spec=f"{name}:{n_pairs}:{world.seed}",
        fingerprint=f"{PREFIX}:v{world.version}:seed{world.seed}:n{n_pairs}",
        records=WorldRecords(world, n_pairs),
        opener=WorldOpener(world),
    )


def has_own_table(spec: str) -> bool:
    """Say whether a ``spec`` is of a world at other rates than those of ``FACTORS``."""
    return spec.startswith(_PREFIX_OF_OTHERS)


def open_world(spec: str) -> WorldOpener:
    """Return what draws the images of ``factorworld:N[:SEED]``."""
    return WorldOpener(FactorWorld(seed=_parse(spec)[1]))


def _parse(spec: str) -> tuple[int, int]:
    numbers = spec.split(":")[1:]
    if not (1 <= len(numbers) <= 2 and all(n.isdecimal() for n in numbers) and int(numbers[0])):
        raise UserError(
            f"{spec!r} is not a world: write factorworld:N or factorworld:N:SEED, "
            "such as factorworld:20000 or factorworld:20000:1."
        )
    return int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 0


SOURCE = SourceKind(
    "factorworld:N",
    answers=lambda spec: spec == PREFIX or spec.startswith(PREFIX + ":"),
    load=load_world,
    open=lambda spec, column, reader: open_world(spec),
)
