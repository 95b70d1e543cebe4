"""The word that a claim ends in."""

from typing import Literal

Verdict = Literal["supported", "not supported", "undecided", "not tested"]
"""*Not tested* where nothing was measured that could speak of it."""
