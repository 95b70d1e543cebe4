"""Files of rows: written whole or not at all, checked whenever they are read."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mm_sae_plugin.activations.manifest import ShardInfo
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path, sha256_of_file


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors.

    Raises
    ------
    UserError
        If the disk is full, or a floating-point tensor is not finite.
    """
    from safetensors.torch import save

    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"{path} was not written: {name!r} would hold numbers that are not finite; "
                "store or compute in a wider dtype."
            )
    # Not `save_file`: its error for a full disk is not an OSError that can be told apart.
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    write_bytes(path, data)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a full disk is a ``UserError``."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def check_file(path: Path, checksum: str, n_bytes: int | None = None) -> None:
    """Compare a file with its checksum.

    Raises
    ------
    UserError
        Naming the file, if it is missing, cut short or damaged.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path} is missing: {REMEDY}")
        size = path.stat().st_size
        if n_bytes is not None and size != n_bytes:
            raise UserError(f"{path} has {size:,} bytes rather than {n_bytes:,}: {REMEDY}")
        found = sha256_of_file(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {REMEDY}") from error
    if found != checksum:
        raise UserError(f"{path} is damaged, its checksum is not the one written: {REMEDY}")


def check_shard(folder: Path, shard: ShardInfo) -> None:
    """Compare a shard with its manifest entry; see :func:`check_file`."""
    check_file(folder / shard.file, shard.sha256, shard.n_bytes)


def read_shard(folder: Path, shard: ShardInfo, names: tuple[str, ...]) -> list[Tensor]:
    """Return named tensors of a shard.

    Raises
    ------
    UserError
        If the file is gone or cannot be read.
    """
    return read_shard_rows(folder, shard, names)


def read_shard_rows(
    folder: Path,
    shard: ShardInfo,
    names: tuple[str, ...],
    start: int = 0,
    stop: int | None = None,
) -> list[Tensor]:
    """Return the rows ``start`` to ``stop`` of named tensors of a shard; no others are read.

    Raises
    ------
    UserError
        If the file is gone or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / shard.file, framework="pt") as file:
            return [file.get_slice(name)[start:stop] for name in names]
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder / shard.file} cannot be read ({error}): {REMEDY}") from error


def read_if_there(folder: Path, shard: ShardInfo, name: str) -> Tensor | None:
    """Return a named tensor of a shard, or None if it has none of that name.

    Raises
    ------
    UserError
        If the file is gone or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / shard.file, framework="pt") as file:
            return file.get_tensor(name) if name in file.keys() else None  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{folder / shard.file} cannot be read ({error}): {REMEDY}") from error


REMEDY = "copy the store again, or run its extraction again, which replaces what is damaged."
