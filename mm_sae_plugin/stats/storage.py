"""Modality statistics beside the SAE that they belong to.

`modality.safetensors` holds the sums (lossless, still mergeable), `modality.parquet` one readable
row per latent, and `cfg.json` a compact record that SAELens carries along as metadata.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path, write_json_atomically
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.config import CLASSES, SCORES, ModalityConfig
from mm_sae_plugin.stats.intervals import firing_rates, score_intervals, score_values
from mm_sae_plugin.stats.nulls import coactivation_lift, swap_null

if TYPE_CHECKING:
    import pandas as pd

    from mm_sae_plugin.stats.dominance import ModalityDominance

STATISTICS_FILE = "modality.safetensors"
TABLE_FILE = "modality.parquet"


def save_dominance(dominance: "ModalityDominance", sae_dir: Path) -> None:
    """Write everything; see `ModalityDominance.save`."""
    cfg_path = sae_dir / "cfg.json"
    if not cfg_path.is_file():
        raise UserError(f"{sae_dir} is not an SAE folder: it holds no cfg.json.")
    content = json.loads(cfg_path.read_text(encoding="utf-8"))
    d_sae = content.get("d_sae")
    if d_sae is not None and d_sae != dominance.n_features:
        raise UserError(
            f"The SAE in {sae_dir} has {d_sae} latents, but the modality statistics describe "
            f"{dominance.n_features}: they belong to another SAE."
        )
    tensors = {
        f"statistics.{name}": tensor.contiguous()
        for name, tensor in dominance.statistics.state_dict().items()
    }
    tensors["scores"] = dominance.scores.contiguous()
    tensors["intervals"] = dominance.intervals.contiguous()
    tensors["classes"] = _class_numbers(dominance.classes)
    if dominance.gap_cosine is not None:
        tensors["gap_cosine"] = dominance.gap_cosine.contiguous()
    if dominance.centred_classes is not None:
        tensors["centred_classes"] = _class_numbers(dominance.centred_classes)
    with atomic_path(sae_dir / STATISTICS_FILE) as temporary:
        save_file(tensors, temporary)
    with atomic_path(sae_dir / TABLE_FILE) as temporary:
        to_table(dominance).to_parquet(temporary, index=False)
    content.setdefault("metadata", {})["modality"] = dominance.metadata()
    write_json_atomically(cfg_path, content)


def load_dominance(sae_dir: Path) -> "ModalityDominance":
    """Read everything back; see `ModalityDominance.load`."""
    from mm_sae_plugin.stats.dominance import ModalityDominance

    path = sae_dir / STATISTICS_FILE
    if not path.is_file():
        raise UserError(
            f"{sae_dir} holds no {STATISTICS_FILE}; run `mm-sae mds` on this SAE first."
        )
    try:
        tensors = load_file(path)
        record = json.loads((sae_dir / "cfg.json").read_text(encoding="utf-8"))["metadata"][
            "modality"
        ]
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise UserError(
            f"The modality statistics in {sae_dir} are damaged; run `mm-sae mds` on it again."
        ) from error
    cfg = ModalityConfig(
        **{
            name: record[name] for name in ("score", "rule", "tau", "confidence", "min_activations")
        },
        cutoffs=(record["cutoffs"][0], record["cutoffs"][1]),
    )
    prefix = "statistics."
    stats = ModalityStatistics.from_state_dict(
        {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    )
    dominance = ModalityDominance.from_config(stats, cfg)
    if "gap_cosine" in tensors:
        dominance = dominance.with_gap(tensors["gap_cosine"])
    if "centred_classes" in tensors:
        from dataclasses import replace

        names = [CLASSES[i] for i in tensors["centred_classes"].tolist()]
        dominance = replace(dominance, centred_classes=names)
    return dominance


def to_table(dominance: "ModalityDominance") -> "pd.DataFrame":
    """One row per latent; see `ModalityDominance.table`."""
    import pandas as pd

    stats, confidence = dominance.statistics, dominance.cfg.confidence
    columns: dict[str, object] = {
        "latent": range(dominance.n_features),
        "class": dominance.classes,
        "mds": dominance.scores.numpy(),
        "mds_low": dominance.intervals[:, 0].numpy(),
        "mds_high": dominance.intervals[:, 1].numpy(),
        "n_active_images": dominance.n_active.numpy(),
    }
    for score in SCORES:
        interval = score_intervals(stats, score, confidence)
        columns[score] = score_values(stats, score).numpy()
        columns[f"{score}_low"] = interval[:, 0].numpy()
        columns[f"{score}_high"] = interval[:, 1].numpy()
    for side, (rate, interval) in firing_rates(stats, confidence).items():
        name = "coverage" if side == "either" else f"rate_{side}"
        columns[name] = rate.numpy()
        columns[f"{name}_low"] = interval[:, 0].numpy()
        columns[f"{name}_high"] = interval[:, 1].numpy()
    n = max(stats.n_pairs, 1)
    columns["mean_image"] = (stats.channel("image") / n).numpy()
    columns["mean_text"] = (stats.channel("text") / n).numpy()
    columns["coactivation_lift"] = coactivation_lift(stats).numpy()
    null = swap_null(stats, dominance.cfg.score)
    columns["swap_z"], columns["swap_p"] = null.z.numpy(), null.p_value.numpy()
    if dominance.gap_cosine is not None:
        columns["gap_cosine"] = dominance.gap_cosine.to(torch.float64).numpy()
    if dominance.centred_classes is not None:
        columns["class_centred"] = dominance.centred_classes
    return pd.DataFrame(columns)


def _class_numbers(classes: list[str]) -> Tensor:
    return torch.tensor([CLASSES.index(name) for name in classes], dtype=torch.uint8)
