"""Which members of a tar file belong together as one sample of a WebDataset."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mm_sae_plugin.pairs.images import IMAGE_SUFFIXES
from mm_sae_plugin.pairs.records import Skipped
from mm_sae_plugin.pairs.tar_index import TarMember

TEXT_SUFFIXES = (".txt", ".caption", ".text")
_DESCRIPTIONS = (*TEXT_SUFFIXES, ".json")


@dataclass
class Sample:
    """Members that share a name up to its ending."""

    name: str
    """What they share."""
    number: int = 1
    """1 for the first sample of that name in the shard, 2 for the second, …"""
    members: dict[str, TarMember] = field(default_factory=dict)
    """The members by what follows the name, in lower case, in their order: ``.png``, ``.txt``."""

    @property
    def image_id(self) -> str:
        """The name, told apart from others of the same name."""
        return self.name if self.number == 1 else f"{self.name}#{self.number}"

    @property
    def images(self) -> list[str]:
        """Endings of the images; the sample's own before those with a longer name."""
        return self._with_last(IMAGE_SUFFIXES)

    @property
    def texts(self) -> list[str]:
        """Endings of the captions; the sample's own before those with a longer name."""
        return self._with_last(TEXT_SUFFIXES)

    @property
    def is_described(self) -> bool:
        """Whether there is a caption, or a file that may hold one."""
        return bool(self._with_last(_DESCRIPTIONS))

    def _with_last(self, suffixes: Iterable[str]) -> list[str]:
        found = [s for s in self.members if "." + s.rpartition(".")[2] in suffixes]
        return sorted(found, key=lambda suffix: suffix.count("."))


def samples_of(members: Iterable[TarMember], skipped: list[Skipped]) -> Iterator[Sample]:
    """Yield the samples of a shard in the order of their first members.

    A name ends at its last dot: ``2023.04.05 beach.png`` and ``2023.04.05 beach.txt`` are one
    sample. A file that has no partner under that rule belongs to the sample with the nearest
    shorter name, if there is one: ``0001.mask.png`` and ``0001.caption.txt`` to ``0001``.
    Members need not be neighbours. A name that stands for several samples names each of them;
    where it cannot be told which files belong together, they are appended to ``skipped``.
    """
    by_name: dict[str, list[Sample]] = {}
    unclear: dict[str, list[TarMember]] = {}
    for member in members:
        name, suffix = split_name(member.name)
        samples = by_name.setdefault(name, [])
        if not samples:
            samples.append(Sample(name))
        elif suffix in samples[-1].members:
            if not (samples[-1].images and samples[-1].is_described):
                unclear.setdefault(name, []).append(member)
                continue
            samples.append(Sample(name, len(samples) + 1))
        samples[-1].members[suffix] = member

    for name, members_left in unclear.items():
        reason = f"there are several files of this name, and which of the others of {name!r} "
        reason += "belong to which cannot be told"
        for sample in by_name.pop(name):
            skipped.extend((member.name, reason) for member in sample.members.values())
        skipped.extend((member.name, reason) for member in members_left)
    _join_to_shorter(by_name)
    for samples in by_name.values():
        yield from samples


def split_name(name: str) -> tuple[str, str]:
    """Split the path of a member into the sample's name and its ending, in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.rpartition(".")
    if not stem:
        return name, ""
    return folder + slash + stem, (dot + suffix).lower()


def _join_to_shorter(by_name: dict[str, list[Sample]]) -> None:
    for name, samples in list(by_name.items()):
        # One that is whole stands for itself, and a repeated name cannot be joined to one of many.
        if len(samples) > 1 or (samples[0].images and samples[0].is_described):
            continue
        shorter, ending = split_name(name)
        while ending and len(by_name.get(shorter, ())) != 1:
            shorter, more = split_name(shorter)
            ending = more + ending if more else ""
        if not ending:
            continue
        (target,) = by_name[shorter]
        joined = {ending + suffix: member for suffix, member in samples[0].members.items()}
        if target.members.keys() & joined.keys():
            continue
        target.members |= joined
        del by_name[name]
