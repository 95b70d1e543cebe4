"""The folders a training writes into: they are its alone, can be written, and have room."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLock, Timeout

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import FULL_DISK
from mm_sae_plugin.saes.folder_files import CFG_FILENAME, DERIVED, OWN, holds_sae
from mm_sae_plugin.training.checkpoints import newest_checkpoint
from mm_sae_plugin.training.config import CHECKPOINTS_FOLDER

LOCK_FILENAME = ".training.lock"
_RESERVE_FILENAME = ".training.reserve"
PARTIAL = ".partial-"
"""How the names of folders begin in which an SAE is being written."""


def refuse_foreign(out: Path) -> None:
    """Refuse a file, or a folder with other things than an SAE or what a training of one left.

    Raises
    ------
    UserError
        If it is one: an SAE would be laid among them, and some could be replaced by its files.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the SAE.")
    checkpoints = out / CHECKPOINTS_FOLDER
    if not out.is_dir() or holds_sae(out) or newest_checkpoint(checkpoints) is not None:
        return
    if not all(_is_left_by_a_training(path) for path in out.iterdir()):
        raise UserError(
            f"{out} is not empty and holds no SAE: give a new folder, or one that a training wrote."
        )


def _is_left_by_a_training(path: Path) -> bool:
    if path.name == CHECKPOINTS_FOLDER and path.is_dir():
        # SAELens names them by the number of rows.
        return all(child.name.rpartition("_")[2].isdecimal() for child in path.iterdir())
    # A config is written last, so one without the rest is somebody else's.
    names = {LOCK_FILENAME, _RESERVE_FILENAME, *OWN, *DERIVED} - {CFG_FILENAME}
    return path.name in names or path.name.startswith(PARTIAL) or path.name.endswith(".partial")


@contextmanager
def sole_training_of(folders: Iterable[Path]) -> Iterator[None]:
    """Keep other trainings out of some folders for a block; folders that are missing are made.

    The lock is a file that names process and computer, which works on network file systems too.
    That of a process of this computer that is gone is taken over.

    Raises
    ------
    UserError
        If another training is writing into one of them, or it cannot be written.
    """
    with ExitStack() as stack:
        for folder in sorted({Path(folder).absolute() for folder in folders}):
            stack.enter_context(_held(folder))
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    lock = SoftFileLock(folder / LOCK_FILENAME)
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Long enough to take a dead process' lock over.
        lock.acquire(timeout=1)
    except Timeout as error:
        path = folder / LOCK_FILENAME
        raise UserError(
            f"Another training is writing into {folder}{_holder(path)}: choose another folder or "
            f"wait for it. If it is gone, delete {path}."
        ) from error
    except OSError as error:
        if is_full_disk(error):
            raise
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): choose another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()
        if is_new:
            # A training that came to nothing leaves nothing.
            with suppress(OSError):
                folder.rmdir()


def _holder(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) >= 2:
            return f" (process {lines[0]} on {lines[1]})"
    return ""


class ReservedSpace:
    """Room on a disk for what must be written when there may be none left.

    Parameters
    ----------
    needs : mapping of Path to int
        Bytes to keep free in each folder; where the file system cannot do that, nothing is kept.
    """

    def __init__(self, needs: Mapping[Path, int]) -> None:
        self._needs = {Path(folder) / _RESERVE_FILENAME: n for folder, n in needs.items()}

    def __enter__(self) -> "ReservedSpace":
        try:
            for path, n_bytes in self._needs.items():
                _reserve(path, n_bytes)
        except BaseException:
            self.release()
            raise
        return self

    def release(self) -> None:
        """Give the room back, to be written into."""
        for path in self._needs:
            path.unlink(missing_ok=True)

    def __exit__(self, *_: object) -> None:
        self.release()


def _reserve(path: Path, n_bytes: int) -> None:
    try:
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
    except (OSError, AttributeError) as error:
        if not is_full_disk(error):
            return
        raise UserError(
            f"The disk is full: {path.parent} has no room for the {n_bytes / 1e6:,.0f} MB that "
            "this training writes; free some space or choose another folder."
        ) from error


def is_full_disk(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised from, says that the disk is full."""
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return True
    # safetensors and torch.save wrap the system's error in their own.
    if "No space left" in str(error) or "os error 28" in str(error):
        return True
    return error.__cause__ is not None and is_full_disk(error.__cause__)
