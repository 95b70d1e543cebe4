"""What a store says about itself."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mm_sae_plugin.activations.identity import Identity
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json, write_json_atomically
from mm_sae_plugin.pairs import ImageReader

MANIFEST = "manifest.json"
"""Written last: a folder that has it is complete."""
PROGRESS = "progress.json"
"""How far an extraction has come; alone in a folder, it is under way or was interrupted."""
FORMAT_VERSION = 2
"""Version 1 had no image transform, tokenizer and cut captions. Every earlier one can be read."""


@dataclass(frozen=True)
class ShardInfo:
    """One file of rows."""

    file: str
    """Its name inside the store."""
    sha256: str
    """Checksum of its bytes."""
    n_bytes: int
    """Its size."""
    start: int
    """The first distinct image of the source, by position, that it answers for."""
    stop: int
    """One after the last."""
    n_images: int
    """Images in it."""
    n_pairs: int
    """Captions in it."""
    n_captions_cut: int | None = None
    """Captions in it that were longer than the context; None if nobody counted."""


@dataclass(frozen=True)
class Skip:
    """An image, or one of its captions, that could not be used."""

    position: int
    """The image's position among the distinct images of the source."""
    image_id: str
    """Its name."""
    reason: str
    """Why it could not be used."""
    unreadable: bool = True
    """Whether the image could not be opened. That may be mended without the source becoming
    another, so such an image is tried again."""


@dataclass(frozen=True)
class SideStatistics:
    """What a normalisation needs to know of one modality's rows; taken in float64."""

    n_rows: int
    """Rows counted."""
    mean_norm: float
    """Mean Euclidean length of a row."""
    rms_norm: float
    """Root of the mean squared length."""
    norm_of_mean: float
    """Length of the mean row: near `rms_norm` when rows hardly differ from each other."""


@dataclass(frozen=True)
class PictureFacts:
    """What is known of the files of the pictures that a store used."""

    digest: str
    """Hash over the pictures' own cheap hashes, in their order."""
    n_with_alpha: int
    """Pictures of which some was transparent and lies on the background."""
    n_one_colour: int
    """Pictures that have one colour all over, on which nothing can be seen."""


@dataclass(frozen=True)
class StoreManifest:
    """Everything about a complete store but its rows."""

    key: str
    """The store's address: the hash of what decides its content."""
    model_name: str
    """The name the model was loaded by."""
    weights_id: str
    """Which weights; an SAE trained on the store is refused on any other."""
    image_hook: str
    """Hook point of the image rows."""
    text_hook: str | None
    """Hook point of the text rows; None for a store of images alone."""
    token_mode: str | None
    """Which tokens of an image were kept."""
    dtype: str
    """Precision of the stored rows."""
    model_dtype: str
    """Precision in which the model ran."""
    source: str
    """The spec of the pairs."""
    image_column: str
    """The source's image column."""
    fingerprint: str
    """Hash of what the source held."""
    n_images: int
    """Distinct images."""
    n_pairs: int
    """Captions."""
    n_tokens: int
    """Rows per image; 1 unless all tokens were kept."""
    d_image: int
    """Width of an image row."""
    d_text: int | None
    """Width of a text row."""
    image_statistics: SideStatistics
    """Of the image rows, each distinct image counted once."""
    text_statistics: SideStatistics | None
    """Of the text rows."""
    files: dict[str, str]
    """Checksum of every file beside the shards, by name."""
    shards: list[ShardInfo]
    """In manifest order."""
    skipped: list[tuple[str, str]]
    """Name and reason of all that could not be used: first what the source itself could not make
    a pair of, then images and captions by the image's id."""
    format_version: int = FORMAT_VERSION
    """Version of the layout of the folder."""
    reading: str | None = None
    """Rules by which the source's files became captions and pictures."""
    reader: ImageReader | None = None
    """How the source's image files became pictures; None where there are none, and in what
    earlier versions made."""
    pictures: PictureFacts | None = None
    """What is known of the pictures' files; None where there are none, and in what earlier
    versions made."""
    transform_id: str | None = None
    """Which image transform; None where it is not known."""
    tokenizer_id: str | None = None
    """Which tokenizer; None where it is not known, and without a text tower."""
    n_captions_cut: int | None = None
    """Captions that were longer than the context and lost what stood beyond it; None where nobody
    counted: without a text tower, and in what earlier versions made."""
    context_length: int | None = None
    """Tokens that the text tower takes of a caption; None where cut captions were not counted."""

    @property
    def identity(self) -> Identity:
        """All that decides the content."""
        names = Identity.__dataclass_fields__
        return Identity(**{name: getattr(self, name) for name in names})

    def save(self, folder: Path) -> None:
        """Write the manifest; the store is complete from then on."""
        write_json_atomically(folder / MANIFEST, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "StoreManifest":
        """Read the manifest of a folder.

        Raises
        ------
        UserError
            If it is damaged, or of a later version.
        """
        content = _read_json(folder / MANIFEST)
        _check_version(folder, content)
        try:
            text = content["text_statistics"]
            reader, pictures = content.get("reader"), content.get("pictures")
            return cls(
                **{
                    **content,
                    "image_statistics": SideStatistics(**content["image_statistics"]),
                    "text_statistics": SideStatistics(**text) if text else None,
                    "reader": ImageReader(**reader) if reader else None,
                    "pictures": PictureFacts(**pictures) if pictures else None,
                    "shards": [ShardInfo(**shard) for shard in content["shards"]],
                    "skipped": [(image_id, reason) for image_id, reason in content["skipped"]],
                }
            )
        except (TypeError, KeyError, ValueError) as error:
            raise UserError(
                f"{folder / MANIFEST} is damaged: extract the store again ({error})."
            ) from error


@dataclass
class Progress:
    """How far an extraction has come; it is kept to the end, so that a store can be mended."""

    identity: Identity
    """What is being extracted."""
    n_done: int = 0
    """Distinct images dealt with so far."""
    shards: list[ShardInfo] = field(default_factory=list)
    """Finished shards, in order."""
    skipped: list[Skip] = field(default_factory=list)
    """What could not be used."""
    format_version: int = FORMAT_VERSION
    """Version of the layout of the folder."""

    def advance(
        self, folder: Path, stop: int, shard: ShardInfo | None, skipped: Sequence[Skip]
    ) -> None:
        """Note the images before ``stop`` as dealt with, on disk first.

        If that fails, they still count as not done.
        """
        shards = self.shards if shard is None else [*self.shards, shard]
        after = Progress(self.identity, stop, shards, [*self.skipped, *skipped])
        after.save(folder)
        self.n_done, self.shards, self.skipped = after.n_done, after.shards, after.skipped

    def rewind(self, n_shards: int) -> None:
        """Keep the first ``n_shards`` shards only."""
        if n_shards == len(self.shards):
            return
        self.n_done = self.shards[n_shards].start
        self.shards = self.shards[:n_shards]
        self.skipped = [entry for entry in self.skipped if entry.position < self.n_done]

    def rewind_to(self, position: int) -> None:
        """Go back to before the image at ``position``, to where a shard began."""
        begun = [number for number, shard in enumerate(self.shards) if shard.start <= position]
        if begun:
            self.rewind(begun[-1])
        else:
            self.n_done, self.shards, self.skipped = 0, [], []

    def save(self, folder: Path) -> None:
        """Write it down."""
        write_json_atomically(folder / PROGRESS, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Progress":
        """Read what an interrupted extraction left.

        Raises
        ------
        UserError
            If the file is damaged, or of a later version.
        """
        content = _read_json(folder / PROGRESS)
        _check_version(folder, content)
        try:
            return cls(
                Identity(**content["identity"]),
                content["n_done"],
                [ShardInfo(**shard) for shard in content["shards"]],
                [_skip(entry) for entry in content["skipped"]],
            )
        except (TypeError, KeyError, ValueError) as error:
            raise UserError(
                f"{folder / PROGRESS} is damaged: remove the folder and extract again ({error})."
            ) from error


def _skip(entry: Any) -> Skip:
    # Version 1 wrote position, id and reason.
    return Skip(*entry) if isinstance(entry, list) else Skip(**entry)


def _check_version(folder: Path, content: dict[str, Any]) -> None:
    version = content.get("format_version", 1)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UserError(
            f"{folder} holds an activation store of format version {version}, and this version "
            f"of mm_sae_plugin reads up to {FORMAT_VERSION}: upgrade mm_sae_plugin, or extract "
            "into another folder."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): remove the folder and extract again."
        ) from error
    return content if isinstance(content, dict) else {}


def refuse_no_store(path: Path) -> None:
    """Raise ``UserError`` for a folder without a complete activation store, or that is none."""
    try:
        is_complete, is_begun = (path / MANIFEST).is_file(), (path / PROGRESS).is_file()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    if not is_complete and is_begun:
        raise UserError(
            f"The extraction into {path} was not finished: run the same extraction again "
            "and it goes on."
        )
    if not is_complete:
        raise UserError(f"{path} is no activation store: {_instead(path)}.")


def _instead(path: Path) -> str:
    """Say what stands in the place of a store, or what to do."""
    if path.is_dir():
        # Where several hooks were extracted, each has its store in there.
        stores = sorted(one.name for one in path.iterdir() if (one / MANIFEST).is_file())
        if stores:
            return f"give one of those in it, {', '.join(stores)}"
        return "make one with mm-sae extract"
    if path.exists():
        return "it is a file; give the folder that mm-sae extract wrote"
    return "there is no such folder; make one with mm-sae extract"
