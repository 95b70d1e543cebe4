"""Fine-tuned image towers on disk: what differs from the encoder that they come from.

A folder holds ``tower.safetensors`` (the moved parameters) and ``tower.json`` (whose they are, and
how they were made).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import (
    atomic_path,
    parse_json,
    sha256_of_file,
    write_json_atomically,
)
from mm_sae_plugin.models import HookedCLIP

WEIGHTS, CARD = "tower.safetensors", "tower.json"


class ImageTower(nn.Module):
    """The image side of a CLIP as one module; only what it uses takes gradients.

    Parameters
    ----------
    model : HookedCLIP
        Is kept, not copied.
    """

    def __init__(self, model: HookedCLIP) -> None:
        super().__init__()
        self.model = model
        used = _used_names(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in used)

    def forward(self, inputs: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Return joint vectors of any length."""
        return self.model.encode_image(inputs)

    def moved(self) -> dict[str, Tensor]:
        """Return the parameters that fine-tuning moves."""
        parameters = self.model.named_parameters()
        return {name: value.detach() for name, value in parameters if value.requires_grad}


@dataclass(frozen=True)
class TunedTower:
    """One tower that was fine-tuned."""

    path: Path
    """Its folder."""
    card: dict[str, Any]
    """What ``tower.json`` says."""

    @property
    def arm(self) -> str:
        """What it was aligned on."""
        return str(self.card["arm"])

    @property
    def seed(self) -> int:
        """Of its training."""
        return int(self.card["seed"])

    @property
    def pictures(self) -> tuple[str, ...]:
        """Keys of the files that it was trained on; none where they were drawn."""
        return tuple(self.card.get("pictures", ()))

    def on(self, model: HookedCLIP) -> HookedCLIP:
        """Return a copy of an encoder with this tower in it.

        Raises
        ------
        UserError
            If the tower is of another encoder, or damaged.
        """
        from safetensors.torch import load_file

        if not model.has_weights(self.card["base_weights_id"]):
            raise UserError(
                f"The tower in {self.path} was made from {self.card['base']} "
                f"({self.card['base_weights_id']}), not from {model.cfg.model_name} "
                f"({model.weights_id}): give the encoder that it belongs to."
            )
        weights = self.path / WEIGHTS
        if not weights.is_file() or sha256_of_file(weights) != self.card["sha256"]:
            raise UserError(
                f"{weights} is gone or damaged: its checksum is not the one in {CARD}; run "
                "`mm-sae align` again."
            )
        return with_weights(model, load_file(weights))


def with_weights(model: HookedCLIP, weights: dict[str, Tensor]) -> HookedCLIP:
    """Return a copy of an encoder with some of its parameters replaced; it gets an id of its own.

    Parameters
    ----------
    model : HookedCLIP
    weights : dict of str to tensor
        Named as in ``model.clip``.
    """
    clip = copy.deepcopy(model.clip)
    _, unexpected = clip.load_state_dict(
        {name: value.float() for name, value in weights.items()}, strict=False
    )
    assert not unexpected, unexpected
    name = f"{model.cfg.model_name} (fine-tuned)"
    return HookedCLIP.wrap(clip, model.tokenizer, model.preprocess, name)


def save_tower(out: Path, tower: ImageTower, base: HookedCLIP, card: dict[str, Any]) -> None:
    """Write a tower's weights, as fp16, and its card."""
    from safetensors.torch import save_file

    weights = {
        name.removeprefix("clip."): value.half().contiguous()
        for name, value in tower.moved().items()
    }
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / WEIGHTS) as temporary:
        save_file(weights, temporary)
    whose = {
        "base": base.cfg.model_name,
        "base_weights_id": base.weights_id,
        "sha256": sha256_of_file(out / WEIGHTS),
    }
    write_json_atomically(out / CARD, whose | card)


def read_tower(path: Path) -> TunedTower:
    """Open one tower's folder.

    Raises
    ------
    UserError
        If it holds none.
    """
    if not (path / CARD).is_file():
        raise UserError(f"{path} holds no {CARD}: give a folder that `mm-sae align` wrote.")
    try:
        card = parse_json((path / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path / CARD} cannot be read ({error}): run `mm-sae align` again."
        ) from error
    needed = ("arm", "seed", "base", "base_weights_id", "sha256")
    missing = [key for key in needed if not isinstance(card, dict) or key not in card]
    if missing:
        raise UserError(f"{path / CARD} does not say {missing[0]!r}: run `mm-sae align` again.")
    if not isinstance(card["seed"], int):
        raise UserError(f"{path / CARD} has no whole number as seed: run `mm-sae align` again.")
    return TunedTower(path, card)


def read_towers(folder: Path) -> list[TunedTower]:
    """Open all towers in a folder, in the order of their names."""
    found = sorted(each.parent for each in folder.glob(f"*/{CARD}"))
    if not found:
        raise UserError(
            f"{folder} holds no fine-tuned tower: give the folder that `mm-sae align` wrote."
        )
    return [read_tower(path) for path in found]


def _used_names(model: HookedCLIP) -> set[str]:
    """Ask which parameters an image's vector depends on, with one backward pass."""
    side = model.to_pixels([_grey()]).to(model.device, model.dtype)
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_()
    with torch.enable_grad():
        total = model.encode_image(side).float().sum()
    gradients = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    return {name for name, each in zip(parameters, gradients, strict=True) if each is not None}


def _grey():
    from PIL import Image

    return Image.new("RGB", (64, 64), (128, 128, 128))
