"""The files of an SAE folder: which are the SAE, which are made from it, and are they whole?

`checksums.json` lists every file that this package wrote into the folder. What is listed and is
not the SAE itself was made from it, and goes when another SAE takes its place; so a new kind of
derived file need only be written inside :func:`written` to be checked and never to go stale.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json, sha256_of_file, write_json_atomically

# SAELens' names, spelled here because importing SAELens takes seconds; a test compares them.
CFG_FILENAME = "cfg.json"
WEIGHTS_FILENAME = "sae_weights.safetensors"
SPARSITY_FILENAME = "sparsity.safetensors"
RUNNER_CFG_FILENAME = "runner_cfg.json"
SCALER_FILENAME = "activation_scaler.json"
WHITENING_FILENAME = "activation_whitening.safetensors"
TRAINER_STATE_FILENAME = "trainer_state.pt"

NORMALIZATION_FILENAME = "normalization.safetensors"
CHECKSUMS_FILENAME = "checksums.json"
EVALUATION_FILENAME = "evaluation.json"
STATISTICS_FILENAME = "modality.safetensors"
TABLE_FILENAME = "modality.parquet"
STABILITY_FILENAME = "stability.json"

# The SAE itself, in the order of writing: a folder without its config holds no SAE yet.
OWN = (
    WEIGHTS_FILENAME,
    SPARSITY_FILENAME,
    RUNNER_CFG_FILENAME,
    NORMALIZATION_FILENAME,
    CHECKSUMS_FILENAME,
    CFG_FILENAME,
)
# Made from the SAE, and wrong beside another one; also where no checksums list them.
DERIVED = (EVALUATION_FILENAME, STATISTICS_FILENAME, TABLE_FILENAME, STABILITY_FILENAME)

# Not a file: the labels' own entry in `cfg.json`, which changes while the rest of it does not.
LABEL_RECORD = f"{CFG_FILENAME}: metadata.modality"
# What an SAE's labels consist of.
LABELS = (STATISTICS_FILENAME, TABLE_FILENAME, LABEL_RECORD)


def holds_sae(folder: str | Path) -> bool:
    """Whether a folder holds an SAE, whole or not."""
    path = Path(folder)
    # A `cfg.json` alone may be of anything.
    listed = (path / CFG_FILENAME).is_file() and (path / CHECKSUMS_FILENAME).is_file()
    return listed or (path / WEIGHTS_FILENAME).is_file()


def refuse_no_sae(folder: Path) -> None:
    """Raise ``UserError`` for a folder without an SAE's config and weights, or that is none."""
    for name in (CFG_FILENAME, WEIGHTS_FILENAME):
        try:
            is_there = (folder / name).is_file()
        except OSError as error:
            raise UserError(f"{folder} cannot be read ({error.strerror}).") from error
        if not is_there:
            raise UserError(
                f"{folder} is not an SAE folder: it has no {name}; give the folder that training "
                "wrote with --out."
            )


def remove_derived(folder: str | Path) -> None:
    """Delete everything in an SAE folder that was made from its SAE.

    Files of other origin are left alone.
    """
    listed = {name for name in _recorded(Path(folder)) if Path(name).name == name}
    for name in sorted((listed | {*DERIVED}) - {*OWN}):
        (Path(folder) / name).unlink(missing_ok=True)


@contextmanager
def written(folder: str | Path, *names: str) -> Iterator[None]:
    """Keep the checksums right while the block writes files into an SAE folder.

    Parameters
    ----------
    folder : str or Path
        The SAE folder.
    names : str
        Files that the block writes (or ``LABEL_RECORD``). When the block fails they are left
        without a checksum, rather than with a wrong one.
    """
    path = Path(folder)
    kept = {name: digest for name, digest in _recorded(path).items() if name not in names}
    if len(kept) < len(_recorded(path)):
        write_json_atomically(path / CHECKSUMS_FILENAME, kept)
    yield
    fresh = {name: digest for name in names if (digest := _digest(path, name)) is not None}
    write_json_atomically(path / CHECKSUMS_FILENAME, {**kept, **fresh})


def check_files(folder: str | Path, *names: str, remedy: str | None = None) -> None:
    """Compare files of an SAE folder with their checksums; those without one are not checked.

    Parameters
    ----------
    folder : str or Path
        The SAE folder.
    names : str
        Files to check (or ``LABEL_RECORD``).
    remedy : str, optional
        How to make these files anew; by default the folder is to be copied again.

    Raises
    ------
    UserError
        Naming the first file that is missing or is not what was written, and the remedy.
    """
    path = Path(folder)
    recorded = _recorded(path)
    for name in names:
        if name not in recorded:
            continue
        digest = _digest(path, name)
        if digest is None:
            again = remedy or "copy the SAE folder again, whole"
            raise UserError(f"{path / name} is missing: {again}.")
        if digest != recorded[name]:
            again = remedy or "copy it again, or make it anew"
            raise UserError(
                f"{path / name} is not as it was written (its checksum differs from the one in "
                f"{CHECKSUMS_FILENAME}), so it is damaged: {again}; if you changed it on "
                f"purpose, delete {CHECKSUMS_FILENAME}."
            )


def _recorded(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS_FILENAME
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in content.items()}
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}): copy the SAE folder again, or delete that file if "
            "the others are sound."
        ) from error


def _digest(folder: Path, name: str) -> str | None:
    if name not in (CFG_FILENAME, LABEL_RECORD):
        path = folder / name
        return sha256_of_file(path) if path.is_file() else None
    # The labels are written into the config long after the SAE, and perhaps by a version of this
    # package that knew no checksums: so they are two things in one file.
    path = folder / CFG_FILENAME
    if not path.is_file():
        return None
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        labels = content.get("metadata", {}).pop("modality", None)
    except (ValueError, AttributeError):
        return "not JSON"
    return _digest_of_json(content if name == CFG_FILENAME else labels)


def _digest_of_json(content: Any) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
