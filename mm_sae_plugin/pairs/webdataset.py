"""Pairs in WebDataset shards: tar files in which files of one sample share a name."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.images import DEFAULT_MAX_PIXELS, IMAGE_SUFFIXES, BadImage, decode_image
from mm_sae_plugin.pairs.records import ImageKey, ListedPairs, PairRecord, fingerprint_of
from mm_sae_plugin.pairs.tar_index import TarMember, read_member, tar_members

if TYPE_CHECKING:
    from PIL.Image import Image

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_KEY = re.compile(r"(.*)@(\d+)\+(\d+)")
_TEXT_SUFFIXES = (".txt", ".caption", ".text")


@dataclass(frozen=True)
class TarOpener:
    """Opens images inside tar files; the key says where, so that no index is needed."""

    folder: Path
    """Where the shards lie."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Larger images are refused before they are decoded."""

    def open_image(self, image_key: ImageKey) -> "Image":
        """Open ``SHARD@OFFSET+SIZE``."""
        match = _KEY.fullmatch(str(image_key))
        if match is None:
            raise BadImage(f"{image_key!r} is not a place in a shard")
        shard, offset, size = match.groups()
        try:
            data = read_member(self.folder / shard, int(offset), int(size))
        except OSError as error:
            raise BadImage(f"the shard {shard} cannot be read ({error.strerror})") from error
        return decode_image(BytesIO(data), self.max_pixels)


def expand_pattern(pattern: str) -> list[str]:
    """Expand braces as a shell does: ``{000..003}`` and ``{train,val}``."""
    if match := _RANGE.search(pattern):
        first, last = match.groups()
        step = 1 if int(first) <= int(last) else -1
        numbers = range(int(first), int(last) + step, step)
        middles = [str(number).zfill(len(first)) for number in numbers]
    elif match := _CHOICE.search(pattern):
        middles = match.group(1).split(",")
    else:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [name for middle in middles for name in expand_pattern(head + middle + tail)]


def load_shards(
    pattern: str,
    caption_column: str = "caption",
    label_columns: Sequence[str] = (),
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> ListedPairs:
    """Open WebDataset shards; see :func:`mm_sae_plugin.load_pairs`.

    A sample's caption is its ``.txt`` file, or the entry ``caption_column`` of its ``.json``
    file; its labels are entries of its ``.json`` file. Files without an image are passed over.
    """
    from tqdm import tqdm

    shards = _find(pattern)
    folder = _common_folder(shards)
    records: list[PairRecord] = []
    sizes = []
    for shard in tqdm(shards, desc="index", unit="shard", delay=2):
        name = shard.relative_to(folder).as_posix()
        sizes += [name, str(shard.stat().st_size)]
        for key, members in _samples(shard):
            records += _records(shard, name, key, members, caption_column, label_columns)
    parts = [part for r in records for part in (str(r.image_key), r.caption)]
    return ListedPairs(
        spec=str(Path(pattern).absolute()),
        fingerprint=fingerprint_of(["webdataset", *label_columns, *sizes, *parts]),
        records=records,
        opener=TarOpener(folder, max_pixels),
    )


def open_shards(pattern: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> TarOpener:
    """Return what opens the images of the shards, without reading their captions."""
    return TarOpener(_common_folder(_find(pattern)), max_pixels)


def _find(pattern: str) -> list[Path]:
    shards: list[Path] = []
    for name in expand_pattern(pattern):
        path = Path(name).absolute()
        if not any(letter in path.name for letter in "*?["):
            shards.append(path)
            continue
        shards += sorted(path.parent.glob(path.name))
    if not shards:
        raise UserError(f"No shard matches {pattern!r}: check the pattern.")
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise UserError(
            f"There is no shard {missing[0]} ({len(missing)} are missing of "
            f"{len(shards)} in {pattern!r}): check the pattern."
        )
    return shards


def _common_folder(shards: Sequence[Path]) -> Path:
    folder = shards[0].parent
    while not all(shard.is_relative_to(folder) for shard in shards):
        folder = folder.parent
    return folder


def _samples(shard: Path) -> Iterator[tuple[str, list[TarMember]]]:
    # Files of one sample stand together and share all of the name before its first dot.
    for key, members in groupby(tar_members(shard), key=lambda member: _split(member.name)[0]):
        yield key, list(members)


def _split(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return folder + slash + stem, (dot + suffix).lower()


def _records(
    shard: Path,
    shard_name: str,
    key: str,
    members: list[TarMember],
    caption_column: str,
    label_columns: Sequence[str],
) -> list[PairRecord]:
    by_suffix = {_split(member.name)[1]: member for member in members}
    image = next((m for s, m in by_suffix.items() if s in IMAGE_SUFFIXES), None)
    if image is None:
        return []
    place = f"{shard_name}@{image.offset}+{image.size}"
    image_id = f"{shard_name}/{key}"
    content = _json(shard, by_suffix[".json"]) if ".json" in by_suffix else {}
    labels = {name: str(content.get(name, "")) for name in label_columns} or None
    captions = _captions(shard, by_suffix, content, caption_column)
    return [PairRecord(place, caption, image_id, labels) for caption in captions]


def _captions(
    shard: Path, by_suffix: dict[str, TarMember], content: dict, caption_column: str
) -> list[str]:
    for suffix in _TEXT_SUFFIXES:
        if suffix in by_suffix:
            member = by_suffix[suffix]
            text = read_member(shard, member.offset, member.size).decode("utf-8", "replace")
            return [" ".join(text.split())]
    caption = content.get(caption_column, "")
    captions = caption if isinstance(caption, list) else [caption]
    return [str(text or "") for text in captions] or [""]


def _json(shard: Path, member: TarMember) -> dict:
    try:
        content = json.loads(read_member(shard, member.offset, member.size))
    except ValueError as error:
        raise UserError(f"{member.name} in the shard {shard} is not JSON: {error}") from error
    return content if isinstance(content, dict) else {}
