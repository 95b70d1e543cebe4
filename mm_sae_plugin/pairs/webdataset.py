"""Pairs in WebDataset shards: tar files in which files of one sample share a name."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.pairs.captions import BadText, Caption, captions_of, decode_text, text_of
from mm_sae_plugin.pairs.columns import CAPTION_COLUMNS
from mm_sae_plugin.pairs.images import IMAGE_SUFFIXES, BadImage, ImageReader
from mm_sae_plugin.pairs.kinds import SourceKind
from mm_sae_plugin.pairs.openers import PictureOpener
from mm_sae_plugin.pairs.records import (
    ImageKey,
    ListedPairs,
    PairList,
    ReadOptions,
    Skipped,
    fingerprint_of,
)
from mm_sae_plugin.pairs.samples import Sample, samples_of, split_name
from mm_sae_plugin.pairs.table import check_ids
from mm_sae_plugin.pairs.tar_index import TarMember, read_member, tar_members

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_KEY = re.compile(r"(.*)@(\d+)\+(\d+)", re.DOTALL)


@dataclass(frozen=True)
class TarOpener(PictureOpener):
    """Opens images inside tar files; the key says where, so that no index is needed."""

    folder: Path
    """Where the shards lie."""
    reader: ImageReader = field(default_factory=ImageReader)
    """How image files become pictures."""

    def locate(self, image_key: ImageKey) -> bytes:
        """Return the bytes at ``SHARD@OFFSET+SIZE``."""
        match = _KEY.fullmatch(str(image_key))
        if match is None:
            raise BadImage(f"{image_key!r} is not a place in a shard")
        shard, offset, size = match.groups()
        try:
            return read_member(self.folder / shard, int(offset), int(size))
        except OSError as error:
            raise BadImage(f"the shard {shard} cannot be read ({error.strerror})") from error


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


def load_shards(pattern: str, options: ReadOptions) -> ListedPairs:
    """Open WebDataset shards; see :func:`mm_sae_plugin.load_pairs`.

    A sample's caption is its ``.txt`` file, else the entry ``caption`` or ``text`` of its
    ``.json`` file. A caption column that is named is that entry of the ``.json`` file, or the
    member with that ending, and nothing else. Labels and ids are entries of the ``.json`` file.
    Which files are one sample stands in :func:`mm_sae_plugin.pairs.samples.samples_of`; files of
    other kinds than images, captions and ``.json`` are taken for a part of their sample.
    """
    from tqdm import tqdm

    shards = _find(pattern)
    folder = _common_folder(shards)
    pairs = PairList()
    sizes = []
    seen: set[str] = set()
    for shard in tqdm(shards, desc="index", unit="shard", delay=2):
        name = shard.relative_to(folder).as_posix()
        sizes += [name, str(shard.stat().st_size)]
        no_files: list[Skipped] = []
        unclear: list[Skipped] = []
        for sample in samples_of(tar_members(shard, no_files), unclear):
            seen |= _Reading(shard, name, sample, options).add_to(pairs)
        for member, reason in no_files:
            pairs.skip(f"{name}/{member}", reason)
        for member, reason in unclear:
            # Every image among them was meant as a pair, whichever caption is its own.
            is_image = split_name(member)[1] in IMAGE_SUFFIXES
            (pairs.lose if is_image else pairs.skip)(f"{name}/{member}", reason)
    columns = options.columns
    for wanted in columns.insists_on:
        if not {wanted, wanted.lower().removeprefix(".")} & seen:
            found = ", ".join(map(repr, sorted(seen)[:8])) or "none"
            raise UserError(
                f"No sample of {pattern} has {wanted!r}: what they have is {found}; name the right "
                "one."
            )
    if columns.id:
        records = pairs.records
        check_ids(pattern, [r.image_key for r in records], [r.image_id for r in records])
    encoding = [options.encoding] if options.encoding else []
    return ListedPairs(
        spec=str(Path(pattern).absolute()),
        fingerprint=fingerprint_of(
            ["webdataset", *columns.labels, *encoding, *sizes, *pairs.parts]
        ),
        records=pairs.records,
        opener=TarOpener(folder, options.reader),
        skipped=pairs.skipped,
        reader=options.reader,
        lost=pairs.lost,
    )


def open_shards(pattern: str, reader: ImageReader) -> TarOpener:
    """Return what opens the images of the shards, without reading their captions."""
    return TarOpener(_common_folder(_find(pattern)), reader)


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
            f"There is no shard {missing[0]} ({len(missing)} of {len(shards)} "
            f"{'is' if len(missing) == 1 else 'are'} missing in {pattern!r}): check the pattern."
        )
    return shards


def _common_folder(shards: Sequence[Path]) -> Path:
    folder = shards[0].parent
    while not all(shard.is_relative_to(folder) for shard in shards):
        folder = folder.parent
    return folder


@dataclass(frozen=True)
class _Reading:
    """One sample, about to become records."""

    shard: Path
    shard_name: str
    sample: Sample
    options: ReadOptions

    def add_to(self, pairs: PairList) -> set[str]:
        """Add the sample or list it; return the names of its entries and endings."""
        members, columns = self.sample.members, self.options.columns
        name = f"{self.shard_name}/{self.sample.image_id}"
        images = self.sample.images
        if columns.image:
            wanted = self._of_name(columns.image)[:1]
            if wanted or columns.image in columns.insists_on:
                images = wanted and [*wanted, *(image for image in images if image not in wanted)]
        if not images:
            self._list_without_image(pairs)
            return set()
        image, *others = (members[suffix] for suffix in images)
        for other in others:
            reason = f"its sample has several images, of which {image.name} is used"
            pairs.skip(f"{self.shard_name}/{other.name}", reason)
        content, fault = self._description()
        image_id = text_of(content.get(columns.id)) if columns.id else name
        if not image_id:
            why = fault or f"its .json file has no {columns.id!r}"
            pairs.lose(f"{self.shard_name}/{image.name}", why)
            return set(content)
        if not columns.caption:
            self._list_further_texts(pairs)
        captions = self._captions(content, fault)
        if fault and columns.labels:
            captions = [Caption("", fault)]
        labels = {label: text_of(content.get(label)) for label in columns.labels} or None
        place = f"{self.shard_name}@{image.offset}+{image.size}"
        pairs.add(place, image_id, captions, labels)
        endings = [suffix[1:] for suffix in members]
        return {*content, *endings, *(ending.rpartition(".")[0] for ending in endings)} - {""}

    def _list_without_image(self, pairs: PairList) -> None:
        wanted = self.options.columns.image
        reason = (
            f"its sample has no image {wanted!r}" if wanted else "its sample has no image beside it"
        )
        # With a caption it was meant as one pair; without, it is a read-me or a list of classes.
        has_caption = any(caption.text for caption in self._captions(*self._description()))
        for number, member in enumerate(self.sample.members.values()):
            list_it = pairs.lose if has_caption and number == 0 else pairs.skip
            list_it(f"{self.shard_name}/{member.name}", reason)

    def _list_further_texts(self, pairs: PairList) -> None:
        members, texts = self.sample.members, self.sample.texts
        for text in texts[1:]:
            reason = f"its sample has several captions, of which {members[texts[0]].name} is used"
            pairs.skip(f"{self.shard_name}/{members[text].name}", reason)

    def _captions(self, content: dict[str, Any], fault: str | None) -> list[Caption]:
        named = self.options.columns.caption
        if named and named in content:
            return captions_of(content[named])
        if named and (members := self._of_name(named)):
            return [self._text(self.sample.members[members[0]])]
        if named in self.options.columns.insists_on:
            return [Caption("", fault or f"its sample has no caption {named!r}")]
        if self.sample.texts:
            return [self._text(self.sample.members[self.sample.texts[0]])]
        entry = next((name for name in CAPTION_COLUMNS if name in content), None)
        return captions_of(content[entry]) if entry else [Caption("", fault)]

    def _of_name(self, name: str) -> list[str]:
        ending = "." + name.lower().removeprefix(".")
        among = (*self.sample.images, *self.sample.texts, *self.sample.members)
        found = [s for s in among if s == ending or s.rpartition(".")[0] == ending]
        return list(dict.fromkeys(found))

    def _text(self, member: TarMember) -> Caption:
        try:
            text = decode_text(self._bytes(member), self.options.encoding)
        except BadText as error:
            return Caption("", f"its caption {member.name} cannot be read: {error}")
        return Caption(" ".join(text.split()))

    def _description(self) -> tuple[dict[str, Any], str | None]:
        member = self.sample.members.get(".json")
        if member is None:
            return {}, None
        try:
            content = parse_json(decode_text(self._bytes(member), self.options.encoding))
        except (BadText, ValueError) as error:
            return {}, f"{member.name} is not JSON: {error}"
        if not isinstance(content, dict):
            return {}, f"{member.name} is no JSON object with names and values"
        return content, None

    def _bytes(self, member: TarMember) -> bytes:
        return read_member(self.shard, member.offset, member.size)


SOURCE = SourceKind(
    "shards-{000..003}.tar",
    answers=lambda spec: spec.lower().endswith(".tar") and not spec.startswith("hf:"),
    load=load_shards,
    open=lambda spec, column, reader: open_shards(spec, reader),
)
