"""An SAE folder on the Hugging Face hub: pushed so that SAELens alone reads it, and fetched."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json, plain_write_errors, write_json_atomically
from mm_sae_plugin.saes.checkpoint import is_checkpoint
from mm_sae_plugin.saes.folder import load_sae
from mm_sae_plugin.saes.folder_files import (
    CFG_FILENAME,
    CHECKSUMS_FILENAME,
    DERIVED,
    LABEL_RECORD,
    LABELS,
    OWN,
    SCALER_FILENAME,
    WHITENING_FILENAME,
    check_files,
    written,
)
from mm_sae_plugin.saes.hub_client import check_repo_id, hub_errors
from mm_sae_plugin.saes.local_paths import without_local_paths
from mm_sae_plugin.saes.model_card import CARD_FILENAME, model_card

# All that is of use elsewhere. The store and what was made of its captions stay at home.
_PUSHED = (
    *(name for name in (*OWN, *DERIVED) if name != CHECKSUMS_FILENAME),
    SCALER_FILENAME,
    WHITENING_FILENAME,
)
_SAE_ID = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)


def stage_sae(
    sae_dir: str | Path, repo_id: str, staged: str | Path, sae_id: str | None = None
) -> str:
    """Write everything that a push uploads into a folder, and upload nothing.

    The folder gets ``README.md``, the model card, and the SAE folder under its id, with the card
    once more. Notes of where files lie on this computer are taken out, as is the way to the store;
    the store's key stays, so that activations can still be told apart.

    Parameters
    ----------
    sae_dir : str or Path
        The SAE folder.
    repo_id : str
        ``owner/name``.
    staged : str or Path
        A new or empty folder.
    sae_id : str, optional
        The folder in the repository, SAELens' ``sae_id``; by default the SAE folder's name.

    Returns
    -------
    str
        The id.

    Raises
    ------
    UserError
        If the folder holds no SAE or a damaged one, a name cannot be used, or ``staged`` is not
        empty or cannot be written.
    """
    source, target = Path(sae_dir), Path(staged)
    check_repo_id(repo_id)
    sae_id = source.resolve().name if sae_id is None else sae_id
    if not _SAE_ID.fullmatch(sae_id) or ".." in sae_id:
        raise UserError(
            f"{sae_id!r} cannot be the id of an SAE: give letters, digits, '-', '_' and '.', such "
            "as 'sae' or 'layer_9/resid_post'."
        )
    load_sae(source)
    if is_checkpoint(source):
        raise UserError(
            f"{source} is a checkpoint of a training, which SAELens cannot open as an SAE: give "
            "the folder that the training wrote at its end."
        )
    check_files(source, *LABELS, remedy="run `mm-sae mds` on this SAE again")
    with plain_write_errors(target):
        if target.is_dir() and any(target.iterdir()):
            raise UserError(f"{target} is not empty: give a new folder.")
        folder = target / sae_id
        folder.mkdir(parents=True)
        names = [name for name in _PUSHED if (source / name).is_file()]
        with written(folder, *names, LABEL_RECORD):
            for name in names:
                _copy(source / name, folder / name)
        card = model_card(folder, repo_id, sae_id)
        for place in (folder, target):
            (place / CARD_FILENAME).write_text(card, encoding="utf-8")
    return sae_id


def push_sae(
    sae_dir: str | Path,
    repo_id: str,
    sae_id: str | None = None,
    private: bool = False,
    keep_card: bool = False,
) -> str:
    """Upload an SAE folder: card, SAE and what belongs to it.

    Plain SAELens opens it with ``SAE.from_pretrained(repo_id, sae_id)``, this package with
    ``Study.open(download_sae(repo_id, sae_id))``. What an earlier push left under the same id is
    replaced. The repository's own card is written too, unless the repository holds other SAEs.

    Parameters
    ----------
    sae_dir : str or Path
        The SAE folder.
    repo_id : str
        ``owner/name``; it is made where it does not exist.
    sae_id : str, optional
        The folder in the repository; by default the SAE folder's name.
    private : bool
        Make the repository private; by default it is public, as SAELens' own uploads are.
    keep_card : bool
        Leave the ``README.md`` that the repository has as it is.

    Returns
    -------
    str
        The id under which the SAE lies there.

    Raises
    ------
    UserError
        Where :func:`stage_sae` does; if there is no token, the hub refuses or cannot be reached,
        or the repository is public and is to be private.
    """
    import huggingface_hub

    with tempfile.TemporaryDirectory() as temporary:
        sae_id = stage_sae(sae_dir, repo_id, temporary, sae_id)
        if not huggingface_hub.get_token():
            raise UserError(
                "There is no token for the hub: log in with `hf auth login`, or set HF_TOKEN to a "
                "token that may write."
            )
        api = huggingface_hub.HfApi()
        with hub_errors(repo_id):
            api.create_repo(repo_id, private=private, exist_ok=True)
            # One that was there before keeps what it was.
            if private and not api.repo_info(repo_id).private:
                raise UserError(
                    f"{repo_id} is there already and public: make it private on the hub, give "
                    "another name, or leave --private out."
                )
            there = api.list_repo_files(repo_id)
            if CARD_FILENAME in there and (keep_card or _holds_other_saes(there, sae_id)):
                (Path(temporary) / CARD_FILENAME).unlink()
            api.upload_folder(
                repo_id=repo_id,
                folder_path=temporary,
                commit_message=f"Upload SAE {sae_id}",
                delete_patterns=[f"{sae_id}/{name}" for name in (*_PUSHED, CHECKSUMS_FILENAME)],
            )
    return sae_id


def download_sae(repo_id: str, sae_id: str = "sae", revision: str | None = None) -> Path:
    """Fetch an SAE folder from the hub, or find it where it was fetched before.

    Parameters
    ----------
    repo_id : str
        ``owner/name``.
    sae_id : str
        The folder in the repository.
    revision : str, optional
        A branch, a tag or a commit; by default the newest.

    Returns
    -------
    Path
        The SAE folder, for ``Study.open`` or ``load_sae``. Labels can be written into it.

    Raises
    ------
    UserError
        If the hub cannot be reached or knows no such repository, or it holds no such SAE.
    """
    from huggingface_hub import snapshot_download

    check_repo_id(repo_id)
    with hub_errors(repo_id):
        place = snapshot_download(repo_id, revision=revision, allow_patterns=f"{sae_id}/*")
    folder = Path(place) / sae_id
    if not (folder / CFG_FILENAME).is_file():
        raise UserError(f"{repo_id} holds no SAE {sae_id!r}: look on the hub which folders it has.")
    return folder


def _copy(source: Path, target: Path) -> None:
    if source.suffix != ".json":
        shutil.copyfile(source, target)
        return
    content = parse_json(source.read_text(encoding="utf-8"))
    if source.name == CFG_FILENAME:
        _forget_store(content)
    write_json_atomically(target, without_local_paths(content))


def _forget_store(cfg: dict[str, Any]) -> None:
    """Take out the way to the store, which leads nowhere elsewhere."""
    (cfg.get("metadata") or {}).pop("store_path", None)


def _holds_other_saes(there: list[str], sae_id: str) -> bool:
    own = f"{sae_id}/{CFG_FILENAME}"
    return any(name.endswith(f"/{CFG_FILENAME}") and name != own for name in there)
