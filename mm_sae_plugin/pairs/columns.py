"""Which columns of a source hold what, and which of them the user named."""

from collections.abc import Sequence
from dataclasses import dataclass

from mm_sae_plugin.errors import UserError

IMAGE_COLUMNS = ("image", "file_name")
"""Looked for in this order where the user names none; the second is that of ImageFolder."""
CAPTION_COLUMNS = ("caption", "text")
"""Looked for in this order where the user names none."""


@dataclass(frozen=True)
class Columns:
    """The columns of a source of pairs; what is None was not named by the user.

    A name that the user gave is taken or missed, never replaced by a default.
    """

    image: str | None = None
    """Column of the images or of their paths; by default the first of ``IMAGE_COLUMNS``."""
    caption: str | None = None
    """Column of the captions; by default the first of ``CAPTION_COLUMNS``."""
    id: str | None = None
    """Column that names the image; by default its path. Captions of one image share its id."""
    labels: tuple[str, ...] = ()
    """Further columns to keep beside every pair."""

    @property
    def named(self) -> tuple[str, ...]:
        """Every column that the user named."""
        return tuple(name for name, _ in self._options)

    @property
    def _options(self) -> list[tuple[str, str]]:
        """Every column that the user named, and the option that names it."""
        alone = [
            (self.image, "--image-column"),
            (self.caption, "--caption-column"),
            (self.id, "--id-column"),
        ]
        labels = [(name, "--label-columns") for name in self.labels]
        return [(name, option) for name, option in [*alone, *labels] if name is not None]

    @property
    def insists_on(self) -> tuple[str, ...]:
        """Those of the named columns that are not what would be looked for anyway.

        Where a source need not have columns, ``image`` and ``caption`` are no more than that.
        """
        defaults = (IMAGE_COLUMNS[0], CAPTION_COLUMNS[0])
        pairs = zip((self.image, self.caption), defaults, strict=True)
        alone = [name for name, default in pairs if name not in (None, default)]
        return (*filter(None, alone), *([self.id] if self.id else []), *self.labels)

    def found_in(self, names: Sequence[str], where: object) -> "Columns":
        """Return the same columns with image and caption filled in from a source's own.

        Raises
        ------
        UserError
            If one is missing, or stands for two columns; the columns that there are are named.
        """
        image = self.image or _first(IMAGE_COLUMNS, names)
        caption = self.caption or _first(CAPTION_COLUMNS, names)
        found = Columns(image, caption, self.id, self.labels)
        for name, option in found._options:
            if name not in names:
                argument = option.removeprefix("--").replace("-", "_")
                raise UserError(
                    f"{where} has no column {name!r}: its columns are "
                    f"{', '.join(map(repr, names[:8]))}{', …' if len(names) > 8 else ''}; "
                    f"name the right one with {option} ({argument}=… in Python)."
                )
            if names.count(name) > 1:
                raise UserError(
                    f"{where} has {names.count(name)} columns {name!r}: give them different names."
                )
        return found

    def refuse_named(self, where: object, remedy: str) -> None:
        """Refuse names where there are no columns, rather than overlook them.

        Raises
        ------
        UserError
            If the user named a column.
        """
        if self.insists_on:
            raise UserError(
                f"{where} has no columns, so none is called {self.insists_on[0]!r}: {remedy}."
            )


def _first(wanted: Sequence[str], names: Sequence[str]) -> str:
    return next((name for name in wanted if name in names), wanted[0])
