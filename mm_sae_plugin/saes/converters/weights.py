"""Tensors out of files that somebody else's ``torch.save`` wrote: nothing in them is run."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from sae_lens.util import str_to_dtype
from torch import Tensor

from mm_sae_plugin.errors import UserError, one_line


class Inert:
    """Stands in for a class of another package: keeps what its instance held and runs nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args


def read_bytes(path: Path) -> bytes:
    """Return what a file holds.

    Raises
    ------
    UserError
        If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): check its rights.") from error


def load_plainly(content: bytes, path: Path, device: str, inert_package: str = "") -> Any:
    """Read what ``torch.save`` wrote, tensors and plain containers only.

    Parameters
    ----------
    content : bytes
        The saved bytes.
    path : Path
        Where they come from, for messages.
    device : str
        Where to put the tensors.
    inert_package : str
        A package whose classes become :class:`Inert` instead of being refused, as configs that
        were saved beside the weights. Its code is neither imported nor run.

    Raises
    ------
    UserError
        If the file is damaged, or holds anything else, which could run code when it is opened.
    """
    try:
        stand_ins: list[Any] = [(Inert, name) for name in _classes_of(content, inert_package)]
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(BytesIO(content), map_location=device, weights_only=True)
    except Exception as error:
        # The readers of zip files, pickles and tensors raise whatever they happened to raise.
        raise UserError(
            f"{path} cannot be read ({one_line(error)}): copy it again, or save its state_dict() "
            "anew."
        ) from error


def state_of_sae(
    state: Any, path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str
) -> dict[str, Tensor]:
    """Check a state dict and return tensors of its own.

    Parameters
    ----------
    state : Any
        What the file held.
    path : Path
        Where it comes from, for messages.
    shapes : mapping of str to tuple of int
        The tensors that the architecture has, and no others, with their shapes.
    dtype : str
        The dtype that they get, such as ``"float32"``.

    Raises
    ------
    UserError
        Naming the tensor that is missing, not known, of another shape, or not finite.
    """
    if not isinstance(state, Mapping):
        raise UserError(f"{path} holds no state dict, so no weights: give the file of an SAE.")
    for name, shape in shapes.items():
        if name not in state:
            raise UserError(f"{path} holds no {name}, so it is no SAE of the kind it says it is.")
        if not isinstance(state[name], Tensor) or tuple(state[name].shape) != shape:
            found = tuple(getattr(state[name], "shape", ()))
            raise UserError(f"{name} in {path} has the shape {found} instead of {shape}.")
        if not torch.isfinite(state[name]).all():
            raise UserError(f"{name} in {path} holds numbers that are not finite: copy it again.")
    unknown = sorted(str(name) for name in state if name not in shapes)
    if unknown:
        raise UserError(
            f"{path} holds {', '.join(unknown)}, which this architecture does not have, so its "
            "codes would be others: it cannot be read as a SAELens SAE."
        )
    # Encoder and decoder may share memory, one the transpose of the other: each gets its own.
    kind = str_to_dtype(dtype)
    return {
        name: state[name].detach().to(kind).clone(memory_format=torch.contiguous_format)
        for name in shapes
    }


def _classes_of(content: bytes, package: str) -> list[str]:
    if not package:
        return []
    try:
        found = torch.serialization.get_unsafe_globals_in_checkpoint(BytesIO(content))
    except Exception:
        # Not the format that can be searched: then it is read without stand-ins.
        return []
    return [name for name in found if name.startswith(f"{package}.")]
