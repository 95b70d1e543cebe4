"""Small labelled SAEs on pairs of FactorWorld, through the package's own steps."""

from pathlib import Path
from typing import Any

from mm_sae_plugin.activations import ExtractConfig
from mm_sae_plugin.saes.folder_files import CFG_FILENAME, WEIGHTS_FILENAME
from mm_sae_plugin.stats.config import ModalityConfig


def labelled_sae(
    folder: Path,
    n_pairs: int,
    cfg: ModalityConfig | None = None,
    sites: ExtractConfig | None = None,
    model_name: str = "factorworld",
    **training: Any,
) -> Path:
    """Extract, train and label in a folder; returns the SAE's, beside the store `acts`."""
    from mm_sae_plugin.activations import extract
    from mm_sae_plugin.models import load_model
    from mm_sae_plugin.pairs import load_pairs
    from mm_sae_plugin.study import Study
    from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner

    model = load_model(model_name)
    pairs = load_pairs(f"factorworld:{n_pairs}")
    store = extract(model, pairs, folder / "acts", sites, progress=False)
    sae_dir = folder / "sae"
    MultimodalSAETrainingRunner(MultimodalSAERunnerConfig(out=sae_dir, **training), store).run()
    Study.open(sae_dir, store, model).label(cfg)
    return sae_dir


def sae_of_empty_files(folder: Path) -> Path:
    """Make a folder that passes for an SAE's until it is opened."""
    folder.mkdir()
    for name in (CFG_FILENAME, WEIGHTS_FILENAME):
        (folder / name).touch()
    return folder
