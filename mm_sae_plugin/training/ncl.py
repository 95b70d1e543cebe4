"""Train a non-negative contrastive head on the activations of a store."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.activations.provider import ShuffledStream
from mm_sae_plugin.devices import checked_device
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.ncl import CFG_FILENAME, WEIGHTS_FILENAME, NonNegativeHead
from mm_sae_plugin.files import refuse_unwritable
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.training.ncl_config import NCLConfig

# As in CLIP: a temperature below this makes the loss unstable (Radford et al. 2021).
_LEAST_TEMPERATURE = 0.01
# Reading the loss makes the host wait for an accelerator; once in so many steps costs nothing.
_STEPS_PER_CHECK = 50
_NOTED = ("model_name", "weights_id", "image_hook", "text_hook", "key", "source")


@dataclass(frozen=True)
class NCLResult:
    """A finished training."""

    head: NonNegativeHead
    """The feature map, in evaluation mode."""
    first_loss: float
    """Mean loss over the first tenth of the steps, in nats."""
    last_loss: float
    """Mean loss over the last tenth."""
    temperature: float
    """What was learnt."""
    n_never_firing: int
    """Features that are active on no image and no caption of the last batches."""


def symmetric_info_nce(
    codes_image: Float[Tensor, "batch n_features"],
    codes_text: Float[Tensor, "batch n_features"],
    image_index: Int[Tensor, "batch"],
    temperature: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """How badly each image is told from others by its caption, and each caption by its image.

    The mean of both cross-entropies of the cosines over the temperature (Radford et al. 2021, fig.
    3). Another pair of the same image is no negative: neither its caption is wrong for the image,
    nor is the image wrong for its caption.

    Parameters
    ----------
    codes_image, codes_text : float
        Codes of length 1; row i of one belongs to row i of the other.
    image_index : int64
        The image of each pair.
    temperature : float
        Above 0.

    Returns
    -------
    float
        In nats; ln(batch) where all codes are equal and all images different.
    """
    cosines = codes_image @ codes_text.T / temperature
    same = image_index[:, None] == image_index[None, :]
    same.fill_diagonal_(False)
    cosines = cosines.masked_fill(same, -torch.inf)
    target = torch.arange(len(cosines), device=cosines.device)
    return (F.cross_entropy(cosines, target) + F.cross_entropy(cosines.T, target)) / 2


def train_ncl(store: PairedActivations, cfg: NCLConfig | None = None) -> NCLResult:
    """Train a head; the store is read whole, as for an SAE.

    Parameters
    ----------
    store : PairedActivations
        Raw activations of both towers.
    cfg : NCLConfig, optional
        Everything that decides the training.

    Raises
    ------
    UserError
        If there are fewer than two images, ``out`` cannot be written, or the training diverges.
    """
    cfg = cfg or NCLConfig()
    device = checked_device(cfg.device)
    if cfg.out is not None:
        refuse_unwritable(cfg.out / WEIGHTS_FILENAME, cfg.out / CFG_FILENAME)
    images, texts = (rows.float().to(device) for rows in (store.image_rows(), store.text_rows()))
    image_index = torch.as_tensor(store.image_index).to(device)
    if len(torch.unique(image_index)) < 2:
        raise UserError(
            "A non-negative head learns to tell images apart, and the store holds fewer than two: "
            "give more pairs."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        head = NonNegativeHead(
            *(images.shape[1], texts.shape[1], cfg.n_features, cfg.hidden, cfg.shared),
            metadata=_metadata(store, cfg),
        ).to(device)
    log_temperature = torch.tensor(cfg.temperature, device=device).log().requires_grad_()
    optimizer = torch.optim.Adam([*head.parameters(), log_temperature], lr=cfg.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _schedule(cfg.training_steps))
    batch_size = min(cfg.batch_size, len(texts))
    stream = ShuffledStream(len(texts), batch_size, cfg.seed, device)
    losses, fired = [], torch.zeros(cfg.n_features, dtype=torch.bool, device=device)
    n_last = max(1, cfg.training_steps // 10)
    for step in range(cfg.training_steps):
        pairs = stream.take()
        codes_image = head.encode(images[image_index[pairs]], "image")
        codes_text = head.encode(texts[pairs], "text")
        temperature = log_temperature.exp()
        loss = symmetric_info_nce(codes_image, codes_text, image_index[pairs], temperature)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            log_temperature.clamp_(min=math.log(_LEAST_TEMPERATURE))
        losses.append(loss.detach())
        if step >= cfg.training_steps - n_last:
            fired |= ((codes_image > 0) | (codes_text > 0)).any(0)
        if (step + 1) % _STEPS_PER_CHECK == 0 or step + 1 == cfg.training_steps:
            _refuse_divergence(head, losses[-_STEPS_PER_CHECK:], step + 1, cfg)
    result = NCLResult(
        head=head.eval().requires_grad_(False),
        first_loss=float(torch.stack(losses[:n_last]).mean()),
        last_loss=float(torch.stack(losses[-n_last:]).mean()),
        temperature=float(log_temperature.detach().exp()),
        n_never_firing=int((~fired).sum()),
    )
    head.metadata["last_loss"], head.metadata["temperature"] = result.last_loss, result.temperature
    if cfg.out is not None:
        head.save(cfg.out)
    return result


def _schedule(n_steps: int) -> Any:
    """Share of the learning rate at each step: a linear warm-up, and a linear fall at the end."""
    warm_up, decay = max(1, n_steps // 20), max(1, n_steps // 3)
    return lambda step: min(1.0, (step + 1) / warm_up, (n_steps - step) / decay)


def _refuse_divergence(
    head: NonNegativeHead, losses: list[Tensor], step: int, cfg: NCLConfig
) -> None:
    is_finite = bool(torch.stack(losses).isfinite().all())
    if is_finite and all(bool(weight.isfinite().all()) for weight in head.parameters()):
        return
    raise UserError(
        f"The training of the non-negative head has diverged by step {step} of "
        f"{cfg.training_steps}: lower the learning rate (lr), which is {cfg.lr:g}, and train again."
    )


def _metadata(store: PairedActivations, cfg: NCLConfig) -> dict[str, Any]:
    """Where the activations come from, as far as the store says, and how it is trained."""
    manifest = getattr(store, "manifest", None)
    origin = {name: getattr(manifest, name, None) for name in _NOTED}
    training = {name: value for name, value in asdict(cfg).items() if name != "out"}
    return {**origin, "training": training}
