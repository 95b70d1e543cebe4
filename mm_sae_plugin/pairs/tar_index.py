"""Where in a tar file each member's bytes lie, so that any of them can be read by itself."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.records import Skipped

_KINDS = (
    (tarfile.TarInfo.issym, "a link"),
    (tarfile.TarInfo.islnk, "a hard link"),
    (tarfile.TarInfo.isdev, "a device or a pipe"),
    (tarfile.TarInfo.issparse, "a sparse file"),
)


@dataclass(frozen=True, slots=True)
class TarMember:
    """One file inside a tar file."""

    name: str
    """Its path inside the tar file."""
    offset: int
    """Where its bytes begin."""
    size: int
    """How many there are."""


def tar_members(shard: Path, skipped: list[Skipped]) -> Iterator[TarMember]:
    """Yield the files of an uncompressed tar file in their order; only headers are read.

    Links, devices and the like have no bytes of their own: they are appended to ``skipped``.

    Raises
    ------
    UserError
        If the file is missing, compressed, damaged or cut short.
    """
    if not shard.is_file():
        raise UserError(f"There is no shard {shard}: check the pattern.")
    length = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                if not member.isfile() or member.issparse():
                    kind = next((k for is_kind, k in _KINDS if is_kind(member)), "of no known kind")
                    skipped.append((member.name, f"the member is {kind}, not a regular file"))
                    continue
                if member.offset_data + member.size > length:
                    raise tarfile.ReadError(f"{member.name} goes on after the end of the file")
                yield TarMember(member.name, member.offset_data, member.size)
            # A tar file ends in a block of zeros; without one, whole members may be missing.
            if not tar.fileobj or not _ends_in_zeros(shard, tar.offset):
                raise tarfile.ReadError("the end of the archive is missing")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(
            f"The shard {shard} is damaged, cut short or compressed ({error}): fetch it again, "
            "or unpack it to a plain .tar."
        ) from error


def read_member(shard: Path, offset: int, size: int) -> bytes:
    """Return ``size`` bytes of ``shard`` from ``offset``."""
    with open(shard, "rb") as file:
        file.seek(offset)
        return file.read(size)


def _ends_in_zeros(shard: Path, offset: int) -> bool:
    # tarfile stands either before the closing block or just behind it.
    for start in (offset, offset - tarfile.BLOCKSIZE):
        if start >= 0 and read_member(shard, start, tarfile.BLOCKSIZE) == b"\0" * tarfile.BLOCKSIZE:
            return True
    return False
