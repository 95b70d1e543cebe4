"""What to extract, as plain values that the command line can be built from."""

from dataclasses import dataclass
from typing import Literal, get_args

from mm_sae_plugin.errors import UserError, check_numbers, kind_of

Precision = Literal["float32", "float16", "bfloat16"]
TokenMode = Literal["cls", "all"]


@dataclass(frozen=True)
class ExtractConfig:
    """How activations of a model over pairs are taken and stored."""

    image_hook: str = "vision.hook_normalized"
    """Hook point of the vision tower."""
    text_hook: str | None = "text.hook_normalized"
    """Pooled hook point of the text tower; None to leave the text tower out."""
    token_mode: TokenMode | None = None
    """What to keep of a hook with one row per image token: "cls" for the class token alone, "all"
    for every token (only without a text tower)."""
    batch_size: int = 256
    """Images, and captions, encoded at a time."""
    dtype: Precision = "float32"
    """Precision of the stored rows."""
    model_dtype: Precision | None = None
    """Precision in which the model runs; None for the one it has."""
    device: str | None = None
    """Where the model runs, such as "cuda"; None for where it is."""
    num_workers: int | None = None
    """Processes that open and preprocess images. None for one per core beyond the first, at most
    8, or none for fewer than 2,000 images. The result is the same for any number."""
    shard_size: int = 8192
    """Rows per shard, of those planned; after an interruption at most that many are computed again,
    by each worker. Batches are never divided."""
    max_skipped: float = 0.05
    """Largest share of the pairs, 0 to 1, that may be left out because an image or a caption
    cannot be used. Rows of a table without an image or an id, and captions in a shard whose image
    is not there, count as pairs; files of a folder that belong to no pair do not. With more, what
    was encoded is kept but the extraction has failed; when it is run again, those images are tried
    again."""
    strict: bool = False
    """Stop at the first image or caption that cannot be used, rather than skip and list it."""

    def __post_init__(self) -> None:
        check_numbers(self)
        for name, kinds in (("image_hook", str), ("text_hook", str | None)):
            hook = getattr(self, name)
            if not isinstance(hook, kinds):
                raise UserError(f"{name} must be the name of a hook point, not {kind_of(hook)}.")
        for name, least in (("batch_size", 1), ("shard_size", 1), ("num_workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{name} must be at least {least}, not {value}.")
        if not 0 <= self.max_skipped <= 1:
            raise UserError(f"max_skipped is a share from 0 to 1, not {self.max_skipped}.")
        for name, kinds in (
            ("dtype", get_args(Precision)),
            ("model_dtype", (None, *get_args(Precision))),
            ("token_mode", (None, *get_args(TokenMode))),
        ):
            value = getattr(self, name)
            if value not in kinds:
                known = ", ".join(kind for kind in kinds if kind)
                raise UserError(f"There is no {name} {value!r}: give one of {known}.")
