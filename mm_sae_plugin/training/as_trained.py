"""How the SAE in a folder was trained, as a config that trains it again."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from sae_lens import TrainingSAEConfig

from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.files import parse_json

# Importing the plugin's own architectures puts them into SAELens' registry.
from mm_sae_plugin.saes import architectures  # noqa: F401
from mm_sae_plugin.saes.folder_files import RUNNER_CFG_FILENAME, check_files
from mm_sae_plugin.training.config import MultimodalSAERunnerConfig


def config_as_trained(sae_dir: str | Path, device: str = "cpu") -> MultimodalSAERunnerConfig:
    """Return the config of the training that wrote an SAE folder, without its places.

    It names the very same SAE (``sae``), steps, batches, optimiser, normalisation and seed. To vary
    the SAE's size or sparsity see :func:`varied`.

    Parameters
    ----------
    sae_dir : str or Path
        What a training by this package wrote.
    device : str
        Where to train again.

    Raises
    ------
    UserError
        If the folder does not say how its SAE was trained, or that cannot be read.
    """
    path = Path(sae_dir) / RUNNER_CFG_FILENAME
    if not path.is_file():
        raise UserError(
            f"{sae_dir} does not say how its SAE was trained (there is no {path.name}): give the "
            "config of a training, training=MultimodalSAERunnerConfig(…)."
        )
    check_files(sae_dir, RUNNER_CFG_FILENAME)
    try:
        said = dict(parse_json(path.read_text(encoding="utf-8")))
        sae_cfg = TrainingSAEConfig.from_dict({**said, "device": device})
        known = {field.name for field in fields(MultimodalSAERunnerConfig)}
        own = {name: value for name, value in said.items() if name in known}
        # On average active latents are noted with a decimal point.
        own |= {"k": int(said["k"]), "training_steps": said["n_steps"]}
        own |= {"sae": sae_cfg, "device": device}
        return MultimodalSAERunnerConfig(**own)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read ({one_line(error)}), so that its SAE cannot be trained again: "
            "give the config of a training, training=MultimodalSAERunnerConfig(…)."
        ) from error


def varied(cfg: MultimodalSAERunnerConfig, **size: Any) -> MultimodalSAERunnerConfig:
    """Return the config of an SAE of another `d_sae` or `k`, built anew from its architecture."""
    return replace(cfg, sae=None, **size)


def has_k(cfg: MultimodalSAERunnerConfig) -> bool:
    """Whether `k` decides how many latents are active: not where a penalty alone does."""
    return cfg.architecture not in ("standard", "gated")
