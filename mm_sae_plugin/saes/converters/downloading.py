"""The same converters for ``SAE.from_pretrained``: download, then read from disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mm_sae_plugin.saes.converters.settings import CfgAndState
from mm_sae_plugin.saes.hub_client import hub_errors


def converted_download(
    convert: Callable[[Path, str, dict[str, Any] | None], CfgAndState],
    repo_id: str,
    folder_name: str,
    device: str,
    force_download: bool,
    cfg_overrides: dict[str, Any] | None,
) -> tuple[dict[str, Any], dict[str, Any], None]:
    """Download one SAE of a repository and convert it.

    Parameters
    ----------
    convert : callable
        A converter for files.
    repo_id : str
        ``owner/name`` on the Hugging Face hub.
    folder_name : str
        The file of the weights in the repository, such as ``"weights.pt"``, or a folder.
    device, force_download, cfg_overrides
        As SAELens gives them.

    Returns
    -------
    cfg, state, None
        What SAELens expects; there is no sparsity beside these SAEs.

    Raises
    ------
    UserError
        If it cannot be downloaded or read.
    """
    from huggingface_hub import snapshot_download

    is_file = Path(folder_name).suffix == ".pt"
    beside = Path(folder_name).parent if is_file else Path(folder_name)
    inside = "" if beside == Path(".") else f"{beside.as_posix()}/"
    weights = folder_name if is_file else f"{inside}*.pt"
    with hub_errors(repo_id):
        folder = snapshot_download(
            repo_id,
            allow_patterns=[f"{inside}*.json", weights],
            force_download=force_download,
        )
    cfg, state = convert(Path(folder) / folder_name, device, cfg_overrides)
    return cfg, state, None
