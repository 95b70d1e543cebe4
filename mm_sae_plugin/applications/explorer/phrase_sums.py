"""How strongly each latent fires on captions, or on images of captions, that hold each phrase."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mm_sae_plugin.applications.explorer.vocabulary import Vocabulary
from mm_sae_plugin.stats.interfaces import CodedPairs


class PhraseSums:
    """Sums of every latent's code on its own side, by the phrases of the pair's caption.

    Parameters
    ----------
    vocabulary : Vocabulary
        Phrases, and which caption holds which.
    on_image : Bool[Tensor, "n_features"]
        Whether a latent's own side is that of images.
    """

    def __init__(self, vocabulary: Vocabulary, on_image: Bool[Tensor, "n_features"]) -> None:
        self.vocabulary = vocabulary
        self._on_image = on_image
        # Few latents fire on a caption, and few phrases stand in it: a part of the store is a list
        # of what is not zero, and only the whole is a table.
        self._parts: list[tuple[Any, Any]] = []
        self._sums: np.ndarray | None = None
        self._squares: np.ndarray | None = None

    def empty(self) -> "PhraseSums":
        """Sums of the same kind that have seen nothing."""
        return PhraseSums(self.vocabulary, self._on_image)

    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        from scipy.sparse import csr_array

        own = torch.where(
            self._on_image.to(pairs.codes_image.device), pairs.codes_image, pairs.codes_text
        )
        codes = csr_array(own.to("cpu", torch.float32).numpy())
        held = self.vocabulary.presence[pairs.rows.pair_index.numpy()].T.tocsr()
        self._parts.append((held @ codes, held @ codes.power(2)))

    def merge(self, other: "PhraseSums") -> "PhraseSums":
        """Add what another has seen; return `self`."""
        self._gather()
        other_parts = list(other._parts)
        if other._sums is not None and other._squares is not None:
            assert self._sums is not None and self._squares is not None
            self._sums += other._sums
            self._squares += other._squares
        self._parts += other_parts
        self._gather()
        return self

    @property
    def sums(self) -> np.ndarray:
        """float32 [n_phrases + 1, n_features]: sums of the codes; the last row is of everything."""
        self._gather()
        assert self._sums is not None
        return self._sums

    @property
    def squares(self) -> np.ndarray:
        """float32 [n_phrases + 1, n_features]: sums of their squares."""
        self._gather()
        assert self._squares is not None
        return self._squares

    def state_dict(self) -> dict[str, Tensor]:
        """Both tables."""
        return {"sums": torch.from_numpy(self.sums), "squares": torch.from_numpy(self.squares)}

    def _gather(self) -> None:
        if self._sums is None or self._squares is None:
            shape = (len(self.vocabulary.phrases) + 1, len(self._on_image))
            self._sums = np.zeros(shape, dtype=np.float32)
            self._squares = np.zeros(shape, dtype=np.float32)
        for sums, squares in self._parts:
            for table, part in ((self._sums, sums), (self._squares, squares)):
                part = part.tocoo()
                # Each place stands once in a product, so that nothing is added twice over.
                table[part.row, part.col] += part.data
        self._parts = []
