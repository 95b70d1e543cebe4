"""What a training needs to know of its activations, from a store or from memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.activations.chunks import Chunks
from mm_sae_plugin.activations.layout import StoreLayout
from mm_sae_plugin.activations.provider import ActivationBatches, paired_batches, row_batches
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.activations.stored_rows import StoredRows
from mm_sae_plugin.activations.streaming import order_of, streamed_batches
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.normalization import ModalityNormalization
from mm_sae_plugin.training.memory import fits_whole, streamed

# What a manifest may say of the encoder beside its name and weights, for `check_encoder`.
_NOTED = ("legacy_weights_id", "transform_id", "tokenizer_id")


@dataclass(frozen=True)
class Streamed:
    """How a store is read while a training goes on."""

    layout: StoreLayout
    """Where its rows lie."""
    chunks: Chunks
    """In which pieces they are read."""
    normalization: ModalityNormalization | None = None
    """What they pass on their way."""


@dataclass(frozen=True)
class TrainingData:
    """Activations of both towers, or of one; rows of one tower are tokens or pooled vectors."""

    acts_image: Float[Tensor, "n_images d_in"] | StoredRows | None
    """One row per distinct image (or image token); None when only captions are there."""
    acts_text: Float[Tensor, "n_pairs d_in"] | StoredRows | None
    """One row per caption; None when only images are there."""
    image_index: Int[Tensor, "n_pairs"] | None
    """Image row of each caption; None when row i of both sides is pair i, and when the store is
    streamed."""
    key: str
    """Tells one data set from another: the store's key, or a hash of all values."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Where the activations come from; goes into the SAE's ``cfg.metadata``."""
    older_key: str = ""
    """The key that earlier versions gave; a store's is the same."""
    streamed: Streamed | None = None
    """How the rows are read; None when they are in memory."""

    @classmethod
    def from_store(
        cls,
        store: Any,
        max_memory_gb: float | None = None,
        batch_size: int = 2,
        normalizes: bool = False,
    ) -> "TrainingData":
        """Read a store whole, or prepare to stream it; a side that was not extracted is left out.

        Parameters
        ----------
        store : ActivationStore, or whatever answers for one
            Only what is on disk can be streamed.
        max_memory_gb : float, optional
            See :class:`MultimodalSAERunnerConfig`.
        batch_size : int
            Rows of a batch, which must find room there.
        normalizes : bool
            Whether the rows will be normalised, which takes more memory.

        Raises
        ------
        UserError
            If the store is empty, cannot be read, or does not go into that much memory.
        """
        manifest = store.manifest
        has_image = _side_is_stored(manifest, "image")
        has_text = _side_is_stored(manifest, "text")
        if not has_image and not has_text:
            raise UserError("The activation store is empty: extract activations first.")
        paired = has_image and has_text
        metadata = {
            "model_name": manifest.model_name,
            "weights_id": manifest.weights_id,
            **{name: getattr(manifest, name) for name in _NOTED if hasattr(manifest, name)},
            "hook_name_image": manifest.image_hook if has_image else None,
            "hook_name_text": manifest.text_hook if has_text else None,
            "dataset_path": getattr(manifest, "source", None),
        }
        key = getattr(manifest, "key", None) or getattr(store, "key", None)
        if isinstance(store, ActivationStore) and not fits_whole(store, max_memory_gb, normalizes):
            return cls._streamed(store, max_memory_gb, batch_size, metadata)
        return cls._checked(
            store.image_rows() if has_image else None,
            store.text_rows() if has_text else None,
            store.image_index if paired else None,
            metadata,
            key,
        )

    @classmethod
    def _streamed(
        cls,
        store: ActivationStore,
        max_memory_gb: float | None,
        batch_size: int,
        metadata: dict[str, Any],
    ) -> "TrainingData":
        layout, chunks = streamed(store, max_memory_gb, batch_size)
        images = StoredRows(layout.images, "image", store.means["image"])
        texts = None
        if layout.texts is not None:
            texts = StoredRows(layout.texts, "text", store.means["text"])
        # That all rows are finite was seen to when they were written.
        key, metadata = store.manifest.key, _with_hook_name(metadata)
        return cls(
            *(images, texts, None, key),
            {**metadata, "store_key": key},
            older_key=key,
            streamed=Streamed(layout, chunks),
        )

    @classmethod
    def from_tensors(
        cls,
        acts_image: Tensor | None,
        acts_text: Tensor | None,
        image_index: Tensor | None,
        metadata: Mapping[str, Any] | None,
    ) -> "TrainingData":
        """Take activations that are in memory already."""
        if acts_image is None and acts_text is None:
            raise UserError(
                "There are no activations to train on: give a store (--acts) or tensors."
            )
        return cls._checked(acts_image, acts_text, image_index, dict(metadata or {}), None)

    @classmethod
    def _checked(
        cls,
        acts_image: Tensor | None,
        acts_text: Tensor | None,
        image_index: Tensor | None,
        metadata: dict[str, Any],
        key: str | None,
    ) -> "TrainingData":
        for name, acts in (("image", acts_image), ("text", acts_text)):
            if acts is None:
                continue
            if acts.ndim != 2 or len(acts) == 0:
                raise UserError(
                    f"The {name} activations must be [n_rows, d_in] with rows; got shape "
                    f"{list(acts.shape)}."
                )
            if not all(bool(part.isfinite().all()) for part in acts.split(65_536)):
                raise UserError(
                    f"The {name} activations hold NaN or infinite values: extract them again, "
                    "in float32 if the model overflows in half precision."
                )
        metadata = _with_hook_name(metadata)
        sides = acts_image, acts_text, image_index
        older_key = key or _older_hash(*sides)
        key = key or _hash(*sides)
        return cls(*sides, key, {**metadata, "store_key": key}, older_key)

    @property
    def is_paired(self) -> bool:
        """Whether both towers are there."""
        return self.acts_image is not None and self.acts_text is not None

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self._sides[0].shape[1]

    @property
    def n_items(self) -> int:
        """Pairs, or rows of the one tower: what an epoch consists of."""
        return len(self._sides[-1])

    @property
    def order(self) -> dict[str, int]:
        """What decides the order of the batches beside the seed; nothing in memory."""
        return {} if self.streamed is None else order_of(self.streamed.chunks)

    @property
    def _sides(self) -> list[Tensor | StoredRows]:
        return [acts for acts in (self.acts_image, self.acts_text) if acts is not None]

    def normalized(self, normalization: ModalityNormalization, device: str) -> "TrainingData":
        """Return the data normalised, in float32, on the device if it fits there well.

        Streamed rows are normalised when they are read, and stay with the CPU until then.
        """
        if self.streamed is not None:
            return self._normalized_later(normalization)
        n_bytes = sum(acts.shape.numel() * 4 for acts in self._sides)
        target = torch.device(device) if _fits(n_bytes, device) else torch.device("cpu")

        def prepared(acts: Tensor | StoredRows | None, modality: Any) -> Tensor | None:
            if acts is None:
                return None
            assert isinstance(acts, Tensor)
            return normalization.apply(acts.to(target, torch.float32), modality)

        return TrainingData(
            prepared(self.acts_image, "image"),
            prepared(self.acts_text, "text"),
            self.image_index,
            self.key,
            self.metadata,
            self.older_key,
        )

    def _normalized_later(self, normalization: ModalityNormalization) -> "TrainingData":
        assert self.streamed is not None
        image, text = (
            acts.normalized(normalization) if isinstance(acts, StoredRows) else None
            for acts in (self.acts_image, self.acts_text)
        )
        how = replace(self.streamed, normalization=normalization)
        return replace(self, acts_image=image, acts_text=text, streamed=how)

    def provider(self, batch_size: int, seed: int) -> ActivationBatches:
        """Return the batches for a SAELens trainer; close it when they have been used."""
        if self.streamed is not None:
            how = self.streamed
            return streamed_batches(
                how.layout,
                how.chunks,
                batch_size=batch_size,
                seed=seed,
                normalization=how.normalization,
            )
        if not self.is_paired:
            return row_batches(cast(Tensor, self._sides[0]), batch_size=batch_size, seed=seed)
        image, text = cast(Tensor, self.acts_image), cast(Tensor, self.acts_text)
        return paired_batches(image, text, self.image_index, batch_size=batch_size, seed=seed)

    def center(self) -> Float[Tensor, "d_in"]:
        """Return the midpoint of the modalities' means, so that neither side is favoured."""
        means = [acts.mean(dim=0, dtype=torch.float64) for acts in self._sides]
        return torch.stack(means).mean(dim=0).float()

    def spread(self) -> float:
        """Return the rows' mean distance from :meth:`center`, on a sample; 1 if they are equal."""
        center = self.center()
        norms = [(sample(acts, 8192) - center).norm(dim=1).mean() for acts in self._sides]
        return float(torch.stack(norms).mean()) or 1.0

    def sampled(self, n_rows: int) -> tuple[Tensor | None, Tensor | None]:
        """Return evenly spaced rows of each side, at most ``n_rows``."""
        image, text = self.acts_image, self.acts_text
        return (
            None if image is None else sample(image, n_rows),
            None if text is None else sample(text, n_rows),
        )


def sample(acts: Float[Tensor, "n d_in"] | StoredRows, n_rows: int) -> Float[Tensor, "m d_in"]:
    """Return evenly spaced rows, at most about ``n_rows`` of them."""
    return acts[:: max(1, len(acts) // n_rows)]


def _with_hook_name(metadata: dict[str, Any]) -> dict[str, Any]:
    """Add the one name that SAELens' own tools know; the image side stands for both."""
    hook_name = metadata.get("hook_name_image") or metadata.get("hook_name_text")
    return {"hook_name": hook_name, **metadata}


def _side_is_stored(manifest: Any, side: str) -> bool:
    count = manifest.n_images if side == "image" else manifest.n_pairs
    return bool(getattr(manifest, f"{side}_hook")) and bool(count)


def _fits(n_bytes: int, device: str) -> bool:
    if not device.startswith("cuda"):
        return True
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return n_bytes < free / 2


def _hash(*tensors: Tensor | None) -> str:
    """Return a digest of all values, in whatever memory they lie."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
            continue
        digest.update(repr((list(tensor.shape), str(tensor.dtype))).encode())
        for part in tensor.detach().split(65_536):
            digest.update(part.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return f"rows:{digest.hexdigest()[:16]}"


def _older_hash(*tensors: Tensor | None) -> str:
    """Return what earlier versions called the same tensors: sums and the rows at the ends."""
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
            continue
        total = tensor.sum(dtype=torch.float64).item()
        ends = torch.cat([tensor[:4].flatten(), tensor[-4:].flatten()]).double().tolist()
        digest.update(repr((list(tensor.shape), total, ends)).encode())
    return f"tensors:{digest.hexdigest()[:16]}"
