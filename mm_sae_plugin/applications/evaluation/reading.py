"""Reading back what an evaluation wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.evaluation.config import LATENTS, RECORD
from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.files import parse_json

if TYPE_CHECKING:
    import pandas as pd

    from mm_sae_plugin.study import Study

_KEYS = ("model", "sae", "labels", "parts", "claims", "not_measured")


def read_evaluation(folder: Path) -> dict[str, Any]:
    """Read `evaluation.json` of a folder.

    Raises
    ------
    UserError
        If it is missing, or is not as it was written.
    """
    path = folder / RECORD
    if not path.is_file():
        raise UserError(
            f"{folder} holds no {RECORD}: give a folder that `mm-sae evaluate --out` wrote."
        )
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        _ = [record[key] for key in _KEYS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({one_line(error)}): run `mm-sae evaluate` again."
        ) from error
    return record


def read_latents(folder: Path) -> pd.DataFrame:
    """Read `latents.parquet` of a folder, a row for each latent.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    import pandas as pd

    path = folder / LATENTS
    if not path.is_file():
        raise UserError(
            f"{folder} holds no {LATENTS}: give a folder that `mm-sae evaluate --out` wrote."
        )
    try:
        return pd.read_parquet(path)
    except Exception as error:
        # Whatever the reader of Parquet happens to raise.
        raise UserError(
            f"{path} cannot be read ({one_line(error)}): run `mm-sae evaluate` again."
        ) from error


def evaluation_of(study: Study, folder: Path) -> dict[str, Any]:
    """Read the evaluation of an SAE.

    Raises
    ------
    UserError
        If it cannot be read, or is of another SAE, or of other labels or activations of this one.
    """
    record = read_evaluation(folder)
    if record["sae"].get("sae_id") != study.sae_id:
        raise UserError(
            f"The evaluation in {folder} is of the SAE {record['sae'].get('sae_id')}, and "
            f"{study.path} is {study.sae_id}: run `mm-sae evaluate` on this one."
        )
    counts, key = study.labels.class_counts, study.store.manifest.key
    if record["labels"].get("class_counts") != counts or record["store"].get("key") != key:
        raise UserError(
            f"The evaluation in {folder} is of other labels of {study.path} than it has now: run "
            "`mm-sae evaluate` again."
        )
    return record
