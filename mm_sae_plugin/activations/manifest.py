"""What a store says about itself, and how its address is computed."""

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.pairs import ImageReader

MANIFEST = "manifest.json"
"""Written last: a folder that has it is complete."""
PROGRESS = "progress.json"
"""How far an extraction has come; alone in a folder, it is under way or was interrupted."""
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Identity:
    """All that decides the content of a store; its hash is the store's address."""

    model_name: str
    """The name the model was loaded by."""
    weights_id: str
    """Which weights; see ``HookedCLIP.weights_id``."""
    image_hook: str
    """Hook point of the image rows."""
    text_hook: str | None
    """Hook point of the text rows."""
    token_mode: str | None
    """Which tokens of an image were kept."""
    dtype: str
    """Precision of the stored rows."""
    model_dtype: str
    """Precision in which the model ran."""
    source: str
    """The spec of the pairs."""
    fingerprint: str
    """Hash of what the source held."""
    reading: str | None = None
    """Rules by which the source's files became captions and pictures; None for a source without
    files, and for what earlier versions made."""

    @property
    def key(self) -> str:
        """The address, 64 hexadecimal digits; where things lie and what they are called is out."""
        content = {k: v for k, v in asdict(self).items() if k not in ("model_name", "source")}
        # Stores of earlier versions, and of sources without files, keep their address.
        if self.reading is None:
            del content["reading"]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def key_with(self, pictures: str | None) -> str:
        """Return the address of a store that is complete.

        Which pictures were used, and what was in their files, is only known at the end.
        """
        return sha256(f"{self.key}:{pictures}".encode()).hexdigest() if pictures else self.key

    def differences(self, other: "Identity") -> str:
        """Say in words where two identities differ."""
        pairs = zip(asdict(self).items(), asdict(other).values(), strict=True)
        shown = [f"{name} {a!r} there, {b!r} now" for (name, a), b in pairs if a != b]
        return "; ".join(shown)


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
            If it is damaged, or of another version.
        """
        content = _read_json(folder / MANIFEST)
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
                f"{folder / MANIFEST} is damaged or of another version of mm_sae_plugin: "
                f"extract the store again ({error})."
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
    skipped: list[tuple[int, str, str]] = field(default_factory=list)
    """Position of the image, its id and the reason, for what could not be used."""

    def rewind(self, n_shards: int) -> None:
        """Keep the first ``n_shards`` shards only."""
        if n_shards == len(self.shards):
            return
        self.n_done = self.shards[n_shards].start
        self.shards = self.shards[:n_shards]
        self.skipped = [entry for entry in self.skipped if entry[0] < self.n_done]

    def save(self, folder: Path) -> None:
        """Write it down."""
        write_json_atomically(folder / PROGRESS, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Progress":
        """Read what an interrupted extraction left.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        content = _read_json(folder / PROGRESS)
        try:
            return cls(
                Identity(**content["identity"]),
                content["n_done"],
                [ShardInfo(**shard) for shard in content["shards"]],
                [(position, name, reason) for position, name, reason in content["skipped"]],
            )
        except (TypeError, KeyError, ValueError) as error:
            raise UserError(
                f"{folder / PROGRESS} is damaged: remove the folder and extract again ({error})."
            ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): remove the folder and extract again."
        ) from error
    return content if isinstance(content, dict) else {}
