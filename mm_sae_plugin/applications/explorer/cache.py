"""What is kept beside an SAE so that nothing is scanned twice: one file, `explorer.safetensors`."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mm_sae_plugin.files import atomic_path, parse_json
from mm_sae_plugin.study import Study

FILENAME = "explorer.safetensors"
_VERSION = 1


@dataclass(frozen=True)
class Cache:
    """Everything that the explorer looks up."""

    key: str
    """What it was made from; see :func:`cache_key`."""
    tensors: dict[str, Tensor]
    """Examples, histograms and names of every latent."""
    record: dict[str, Any]
    """Phrases, nearest factors and the accuracy of names, as plain JSON."""

    def save(self, folder: Path) -> None:
        """Write it into an SAE folder, wholly or not at all.

        Raises
        ------
        UserError
            If the disk is full, or nothing may be written there.
        """
        metadata = {"key": self.key, "record": json.dumps(self.record)}
        with atomic_path(folder / FILENAME) as temporary:
            own = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
            temporary.write_bytes(save(own, metadata))

    @classmethod
    def load(cls, folder: Path, key: str) -> "Cache | None":
        """Read it back; None where there is none, it is damaged or was made from something else."""
        try:
            with safe_open(folder / FILENAME, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != key:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return cls(key, tensors, parse_json(metadata["record"]))
        except (OSError, SafetensorError, KeyError, json.JSONDecodeError):
            return None


def cache_key(study: Study) -> str:
    """Name store, SAE and labels: where one of them is another, the cache is stale."""
    labels = study.labels
    told = hashlib.sha256("".join(labels.classes).encode())
    told.update(labels.scores.numpy().tobytes())
    parts = (f"v{_VERSION}", study.store.manifest.key, study.sae_id, told.hexdigest()[:16])
    return " ".join(parts)
