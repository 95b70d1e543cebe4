"""Training the UNet: from noise and a finished layout net's word to sharp latents."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from mm_sae_plugin.factorworld.generator.codec import PatchCodec
from mm_sae_plugin.factorworld.generator.unet import Layout, LayoutUNet
from mm_sae_plugin.factorworld.recipes.generator_data import GeneratorData
from mm_sae_plugin.factorworld.recipes.generator_layout import (
    DROPPED,
    latents_of,
    subject_weights,
)

_BATCH = 256
# The weight of an error, 1 / (1 - alpha_bar), would grow without bound where noise is least.
_LARGEST_WEIGHT = 5.0


@dataclass(frozen=True)
class LayoutCache:
    """What a layout net says of every picture of the training data, as memory maps."""

    vectors: Float[np.ndarray, "n width"]
    """Outputs of the dense part, float16."""
    means: Float[np.ndarray, "n channels rows columns"]
    """Mean latents, float16."""


@torch.no_grad()
def cache_layouts(
    unet: LayoutUNet,
    codec: PatchCodec,
    data: GeneratorData,
    folder: Path,
    bfloat16: bool = True,
) -> LayoutCache:
    """Run the layout net once over the data, and set the UNet's spreads from what it leaves open.

    The folder is reused when it is there: remove it with the layout's checkpoint.
    """
    paths = {name: folder / f"{name}.npy" for name in ("vectors", "means", "spreads")}
    if not paths["spreads"].exists():
        folder.mkdir(parents=True, exist_ok=True)
        empty = unet.lay_out(torch.zeros(1, data.images.shape[1]))
        maps = {
            name: np.lib.format.open_memmap(
                paths[name], mode="w+", dtype=np.float16, shape=(len(data), *one.shape[1:])
            )
            for name, one in (("vectors", empty.vector), ("means", empty.mean))
        }
        squares = torch.zeros(2, *empty.mean.shape[1:], dtype=torch.float64)
        for start in tqdm(range(0, len(data), _BATCH), "layouts"):
            rows = np.arange(start, min(start + _BATCH, len(data)))
            with torch.autocast("cpu", torch.bfloat16, bfloat16):
                layout = unet.lay_out(torch.from_numpy(data.images[rows]))
            latents = latents_of(codec, data, rows)
            for side, mean in enumerate((empty.mean, layout.mean)):
                squares[side] += (latents - mean).double().square().sum(0)
            maps["vectors"][rows] = layout.vector.half().numpy()
            maps["means"][rows] = layout.mean.half().numpy()
        for array in maps.values():
            array.flush()
        np.save(paths["spreads"], (squares / len(data)).sqrt().float().numpy())
    unet.spreads.copy_(torch.from_numpy(np.load(paths["spreads"])))
    return LayoutCache(*(np.load(paths[name], mmap_mode="r") for name in ("vectors", "means")))


def unet_losses(
    model: nn.Module,
    rows: np.ndarray,
    chance: torch.Generator,
    codec: PatchCodec,
    data: GeneratorData,
    layouts: LayoutCache,
    empty: Layout,
) -> dict[str, Float[Tensor, ""]]:
    """Return the weighted squared error of the predicted clean latents.

    ``empty`` is the layout of no condition, which takes the place of a share of the conditions.
    """
    assert isinstance(model, LayoutUNet)
    n = len(rows)
    latents = latents_of(codec, data, rows)
    kept = (torch.rand(n, generator=chance) >= DROPPED).long()
    vectors = torch.from_numpy(layouts.vectors[rows]).float()
    means = torch.from_numpy(layouts.means[rows]).float()
    layout = Layout(
        torch.where(kept[:, None] > 0, vectors, empty.vector),
        torch.where(kept[:, None, None, None] > 0, means, empty.mean),
        model.spreads[kept],
    )
    # One step from each equal part of the schedule: even batches make steadier gradients.
    parts = torch.randperm(n, generator=chance) + torch.rand(n, generator=chance)
    n_steps = len(model.alphas_cumprod)
    steps = (parts / n * n_steps).long().clamp(max=n_steps - 1)
    signal = model.alphas_cumprod[steps][:, None, None, None]
    noise = torch.randn(latents.shape, generator=chance)
    noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
    clean = model.denoise(noisy, steps, layout).float()
    weight = (1 / (1 - model.alphas_cumprod[steps])).clamp(max=_LARGEST_WEIGHT)
    error = (clean - latents).square().mean(1) * subject_weights(data, rows)
    return {"square": (weight * error.mean((1, 2))).mean()}
