"""The options that choose pictures and classes, shared by the verbs that attack."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    from mm_sae_plugin.applications.defense.tasks import Task


@dataclass(frozen=True)
class TaskChoice:
    """Pictures of one's own; by default tasks of FactorWorld."""

    images: Path | None = None
    """Your own pictures: a .csv, .tsv, .jsonl or .parquet file with their paths and classes."""
    label_col: str = "label"
    """Column of the class."""
    image_col: str | None = None
    """Column of the paths; by default image or file_name."""
    images_dir: Path | None = None
    """Where relative paths start; by default where the table lies."""
    prompts: Path | None = None
    """YAML or JSON with templates and, as targets, words for each class; by default its name in two
    plain templates."""
    encoding: str | None = None
    """Encoding of the table without a byte-order mark, such as cp1252; UTF-8 by default."""

    def own_task(
        self, n: int | None = None, seed: int = 0, without: Collection[str] = ()
    ) -> Task | None:
        """Read the user's task, without some pictures; None where FactorWorld's are meant."""
        from mm_sae_plugin.applications.bias.prompts import PromptSet
        from mm_sae_plugin.applications.defense.own_task import read_task

        if self.images is None:
            given = [
                name
                for name in ("image_col", "images_dir", "prompts", "encoding")
                if getattr(self, name) is not None
            ]
            if given:
                raise UserError(
                    f"--{given[0].replace('_', '-')} is of pictures of your own: give their table "
                    "as --images."
                )
            return None
        prompts = None if self.prompts is None else PromptSet.load(self.prompts)
        return read_task(
            self.images,
            self.label_col,
            self.image_col,
            self.images_dir,
            prompts,
            n,
            seed,
            self.encoding,
            without,
        )
