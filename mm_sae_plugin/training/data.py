"""What a training needs to know of its activations, from a store or from memory."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.activations.provider import ActivationBatches, paired_batches, row_batches
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.normalization import ModalityNormalization

# What a manifest may say of the encoder beside its name and weights, for `check_encoder`.
_NOTED = ("legacy_weights_id", "transform_id", "tokenizer_id")


@dataclass(frozen=True)
class TrainingData:
    """Activations of both towers, or of one; rows of one tower are tokens or pooled vectors."""

    acts_image: Float[Tensor, "n_images d_in"] | None
    """One row per distinct image (or image token); None when only captions are there."""
    acts_text: Float[Tensor, "n_pairs d_in"] | None
    """One row per caption; None when only images are there."""
    image_index: Int[Tensor, "n_pairs"] | None
    """Image row of each caption; None when row i of both sides is pair i."""
    key: str
    """Tells one data set from another: the store's key, or a hash of all values."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Where the activations come from; goes into the SAE's ``cfg.metadata``."""
    older_key: str = ""
    """The key that earlier versions gave; a store's is the same."""

    @classmethod
    def from_store(cls, store: Any) -> "TrainingData":
        """Read a store whole; a side that was not extracted is left out."""
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
        return cls._checked(
            store.image_rows() if has_image else None,
            store.text_rows() if has_text else None,
            store.image_index if paired else None,
            metadata,
            getattr(manifest, "key", None) or getattr(store, "key", None),
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
        # One name that SAELens' own tools know; the image side stands for both.
        hook_name = metadata.get("hook_name_image") or metadata.get("hook_name_text")
        metadata.setdefault("hook_name", hook_name)
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
    def _sides(self) -> list[Tensor]:
        return [acts for acts in (self.acts_image, self.acts_text) if acts is not None]

    def normalized(self, normalization: ModalityNormalization, device: str) -> "TrainingData":
        """Return the data normalised, in float32, on the device if it fits there well."""
        n_bytes = sum(acts.numel() * 4 for acts in self._sides)
        target = torch.device(device) if _fits(n_bytes, device) else torch.device("cpu")

        def prepared(acts: Tensor | None, modality: Any) -> Tensor | None:
            if acts is None:
                return None
            return normalization.apply(acts.to(target, torch.float32), modality)

        return TrainingData(
            prepared(self.acts_image, "image"),
            prepared(self.acts_text, "text"),
            self.image_index,
            self.key,
            self.metadata,
            self.older_key,
        )

    def provider(self, batch_size: int, seed: int) -> ActivationBatches:
        """Return the batches for a SAELens trainer."""
        if not self.is_paired:
            return row_batches(self._sides[0], batch_size=batch_size, seed=seed)
        assert self.acts_image is not None and self.acts_text is not None
        return paired_batches(
            self.acts_image, self.acts_text, self.image_index, batch_size=batch_size, seed=seed
        )

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


def sample(acts: Float[Tensor, "n d_in"], n_rows: int) -> Float[Tensor, "m d_in"]:
    """Return evenly spaced rows, at most about ``n_rows`` of them."""
    return acts[:: max(1, len(acts) // n_rows)]


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
