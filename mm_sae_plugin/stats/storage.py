"""Labels beside the SAE that they belong to, as plain tensors, a table and a record.

`modality.safetensors` holds the sums (lossless, still mergeable), `modality.parquet` one readable
row per latent, and `cfg.json` a compact record that SAELens carries along as metadata. All three
stand in the folder's checksums; labels of earlier versions have none, and are not checked.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path, parse_json, write_json_atomically
from mm_sae_plugin.saes.folder_files import (
    CFG_FILENAME,
    LABELS,
    STATISTICS_FILENAME,
    TABLE_FILENAME,
    check_files,
    written,
)

if TYPE_CHECKING:
    import pandas as pd


def write_labels(
    sae_dir: Path,
    n_features: int,
    tensors: Mapping[str, Tensor],
    table: "pd.DataFrame",
    record: Mapping[str, Any],
) -> None:
    """Write labels into an SAE folder.

    Raises
    ------
    UserError
        If the folder holds no `cfg.json` or an SAE of another size, or cannot be written.
    """
    cfg_path = sae_dir / CFG_FILENAME
    if not cfg_path.is_file():
        raise UserError(f"{sae_dir} is not an SAE folder: it holds no cfg.json.")
    content = parse_json(cfg_path.read_text(encoding="utf-8"))
    d_sae = content.get("d_sae")
    if d_sae is not None and d_sae != n_features:
        raise UserError(
            f"The SAE in {sae_dir} has {d_sae} latents, but the modality statistics describe "
            f"{n_features}: they belong to another SAE."
        )
    content.setdefault("metadata", {})["modality"] = dict(record)
    with written(sae_dir, *LABELS):
        with atomic_path(sae_dir / STATISTICS_FILENAME) as temporary:
            # Not `save_file`: its error for a place that cannot be written is not an OSError.
            # It refuses tensors that share memory, as the scores and the score they are do.
            own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
            temporary.write_bytes(save(own))
        with atomic_path(sae_dir / TABLE_FILENAME) as temporary:
            table.to_parquet(temporary, index=False)
        write_json_atomically(cfg_path, content)


def read_labels(sae_dir: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the record back.

    Raises
    ------
    UserError
        If the folder holds no labels, or damaged ones; the file that is damaged is named where
        it has a checksum.
    """
    path = sae_dir / STATISTICS_FILENAME
    if not path.is_file():
        raise UserError(
            f"{sae_dir} holds no {STATISTICS_FILENAME}; run `mm-sae mds` on this SAE first."
        )
    check_files(sae_dir, *LABELS, remedy="run `mm-sae mds` on this SAE again")
    try:
        tensors = load_file(path)
        content = parse_json((sae_dir / CFG_FILENAME).read_text(encoding="utf-8"))
        return tensors, content["metadata"]["modality"]
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(
            f"The modality statistics in {sae_dir} are damaged; run `mm-sae mds` on it again."
        ) from error
