"""Writing files so that an interrupted or failed write never leaves half a file behind."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
"""What the system calls a disk, or a share of it, with no room left."""
_REFUSED = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
    # So do places answer that are no real file systems, such as /proc.
    *(errno.ENOENT, errno.ELOOP),
)


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def plain_write_errors(path: str | Path) -> Iterator[None]:
    """Turn what the system says of a full disk or a read-only place into one sentence.

    Raises
    ------
    UserError
        If the disk is full, or nothing may be written at ``path``.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise UserError(
                f"The disk is full: {path} was not written and nothing before it was changed; "
                "free some space and run the same command again."
            ) from error
        if error.errno == errno.EISDIR:
            raise UserError(f"{path} is a folder: give the name of a file.") from error
        if error.errno in _REFUSED:
            raise UserError(
                f"{path} cannot be written ({_reason(Path(path), error)}): give another folder, or "
                "make this one writable."
            ) from error
        raise


def _reason(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        for place in (path, *path.parents):
            if place.is_file():
                return f"{place} is a file, not a folder"
    return str(error.strerror)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; rename it to ``path`` when the block succeeds.

    The block may create a file or a folder. When it raises, the temporary is removed and
    whatever stood at ``path`` before stays as it was.

    Raises
    ------
    UserError
        If the disk is full, or nothing may be written there.
    """
    final = Path(path)
    temporary = _temporary_beside(final)
    with plain_write_errors(final):
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, final)
        finally:
            # In a place that is not to be written not even this can be tried.
            with suppress(OSError):
                _remove(temporary)


def refuse_unwritable(*paths: str | Path) -> None:
    """Find out, before any work is done, whether files can be written later.

    Each is tried: rights alone say nothing of a read-only disk. What was there stays as it was, and
    folders that are made for the trial are taken away again.

    Raises
    ------
    UserError
        If one is a folder, or nothing may be written there.
    """
    for path in paths:
        final = Path(path)
        temporary = _temporary_beside(final)
        with plain_write_errors(final):
            if final.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            new = [folder for folder in final.parents if not os.path.lexists(folder)]
            try:
                final.parent.mkdir(parents=True, exist_ok=True)
                temporary.touch()
            finally:
                with suppress(OSError):
                    _remove(temporary)
                for folder in new:
                    with suppress(OSError):
                        folder.rmdir()


def _temporary_beside(final: Path) -> Path:
    # The process id keeps two writers of one file apart.
    return final.with_name(f".{final.name}.{os.getpid()}.partial")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises
    ------
    json.JSONDecodeError
        If it is none, or nested more deeply than anything that is meant.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", "", 0) from error


def write_json_atomically(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, or leave the file as it was."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def path_from(folder: str | Path, target: str | Path) -> str:
    """Return the way from a folder to a target, so that both can be moved together."""
    try:
        return Path(os.path.relpath(target, folder)).as_posix()
    # Two drives have no way between them.
    except ValueError:
        return str(Path(target).absolute())
