"""What the table of sources knows of each kind of source."""

from collections.abc import Callable
from dataclasses import dataclass

from mm_sae_plugin.pairs.images import ImageReader
from mm_sae_plugin.pairs.records import ImageOpener, ListedPairs, ReadOptions


@dataclass(frozen=True)
class SourceKind:
    """One kind of source of pairs."""

    example: str
    """How a spec of this kind is written, for messages."""
    answers: Callable[[str], bool]
    """Whether a spec is of this kind."""
    load: Callable[[str, ReadOptions], ListedPairs]
    """Lists the pairs."""
    open: Callable[[str, str, ImageReader], ImageOpener]
    """Opens the images alone, given the spec, the image column and the reader."""
