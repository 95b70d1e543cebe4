"""Writing files so that an interrupted or failed write never leaves half a file behind."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError


def sha256_of_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; rename it to ``path`` when the block succeeds.

    The block may create a file or a folder. When it raises, the temporary is removed and
    whatever stood at ``path`` before stays as it was.

    Raises
    ------
    UserError
        If the disk is full.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    # The process id keeps two writers of one file apart.
    temporary = final.with_name(f".{final.name}.{os.getpid()}.partial")
    try:
        yield temporary
        os.replace(temporary, final)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(
            f"The disk is full: {final} was not written and nothing before it was changed; "
            "free some space and run the same command again."
        ) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_json_atomically(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, or leave the file as it was."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
