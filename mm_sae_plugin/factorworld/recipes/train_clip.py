r"""The recipe of the embedded models: ``python -m mm_sae_plugin.factorworld.recipes.train_clip``.

Contrastive training (Radford et al. 2021, arXiv 2103.00020) in batches of hard-negative groups:
without them the shared factors alone tell the pairs of a batch apart, and the model has no reason
to learn what is drawn or said only now and then. For the first steps the towers also learn to name
what they see and read (``label_heads``). With ``--self-supervision`` each tower also tells
apart augmented views of its own inputs, as DeCLIP does (Li et al. 2021, arXiv 2110.05208).

The shipped models were made by these three commands and ``ship_clip``: ``factorworld`` is the
second stage, ``factorworld-declip`` the third. The second lifts the one factor that the first had
left under 95%, the shape of the objects. (The loss and the schedule of the rate were then written
by hand; transformers' schedule is the same but for lying one step later.)::

    python -m mm_sae_plugin.factorworld.recipes.train_clip --out runs/clip
    python -m mm_sae_plugin.factorworld.recipes.train_clip --out runs/clip2 \
        --init runs/clip/checkpoint.pt --n-steps 1200 --label-steps 400 --lr 7e-4 --seed 1
    python -m mm_sae_plugin.factorworld.recipes.train_clip --out runs/declip \
        --init runs/clip2/checkpoint.pt --self-supervision 0.3 --batch-size 96 \
        --n-steps 800 --label-steps 400 --lr 5e-4
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mm_sae_plugin.factorworld.architecture import build_model, build_tokenizer, model_config
from mm_sae_plugin.factorworld.embedded import EMBEDDED_MODELS, load_embedded, read_card
from mm_sae_plugin.factorworld.factors import (
    FACTORS,
    WOMAN_GIVEN_OCCUPATION,
    Factor,
    planted_association,
)
from mm_sae_plugin.factorworld.recipes.label_heads import LabelHeads, label_table
from mm_sae_plugin.factorworld.recipes.training_data import (
    batches_of_groups,
    draw_pairs,
    normalize_pixels,
)
from mm_sae_plugin.factorworld.recipes.views import (
    augment_images,
    hide_some_words,
    hide_words,
)
from mm_sae_plugin.factorworld.tokenizer import WordTokenizer
from mm_sae_plugin.factorworld.world import FactorWorld
from mm_sae_plugin.files import atomic_path, refuse_unwritable

if TYPE_CHECKING:
    from open_clip.model import CustomTextCLIP

# CLIP's bound on the logit scale: a factor of 100.
_MAX_LOG_SCALE = 4.6052
_LOG_EVERY = 50
# Where files lay on the machine that trained is not part of a recipe.
_PRIVATE = frozenset(("out", "cache", "init", "n_threads", "checkpoint_every"))

CHECKPOINT = "checkpoint.pt"
"""Name of the checkpoint in a training's folder."""


@dataclass(frozen=True)
class TrainCLIPConfig:
    """How an embedded model is trained."""

    out: Path
    """Folder for the checkpoint, which a second run of the same command resumes."""
    cache: Path = Path("runs/factorworld-cache")
    """Folder for the drawn images."""
    init: str | Path | None = None
    """A finished training's checkpoint, or the name of an embedded model, to start from in place
    of random weights; an embedded model comes without the heads that name factors."""
    self_supervision: float = 0.0
    """Weight of the within-modality loss of each tower; 0 trains a plain CLIP."""
    n_steps: int = 4000
    """Optimizer steps."""
    batch_size: int = 128
    """Pairs in a batch."""
    n_pairs: int = 131_072
    """Pairs of the training world."""
    group_size: int = 8
    """Pairs that share their shared factors, but for those redrawn."""
    redraw: float = 0.2
    """Probability that a pair redraws a shared factor of its group."""
    lr: float = 1.5e-3
    """Peak learning rate, reached after the warm-up, then lowered along a cosine."""
    lr_warm_up_steps: int = 200
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.05
    """Weight decay of the matrices."""
    label_steps: int = 1500
    """Steps over which the weight of the naming loss (``label_heads``) falls from 1 to 0."""
    unknown_share: float = 0.02
    """Share of words replaced by the unknown token, so that it has a meaning."""
    hidden_share: float = 0.15
    """Share of words hidden in the second text view of the self-supervision."""
    association: float | None = None
    """Strength (0 to 1) of an association of gender with occupation that is planted in the training
    world, as ``planted_association`` has it; by default that of ``WOMAN_GIVEN_OCCUPATION``."""
    occupation_drawn: float = 1.0
    """Share of the pictures of people that show their occupation."""
    gender_hidden_share: float = 0.0
    """Share of the captions whose gender word is replaced by the unknown token, so that the
    model has a reason to learn the gender that goes with an occupation."""
    world_seed: int = 1_000
    """Seed of the training world; evaluation and users draw from others."""
    seed: int = 0
    """Seed of the weights and of the order of the batches."""
    bfloat16: bool = True
    """Run the towers in bfloat16; off is faster on a processor that only emulates it."""
    n_threads: int = 1
    """Threads of the training process."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""


def train_clip(cfg: TrainCLIPConfig, factors: Mapping[str, Factor] = FACTORS) -> CustomTextCLIP:
    """Train a model on the world of a table; resumes from ``cfg.out`` if it holds a checkpoint."""
    from open_clip.loss import ClipLoss

    refuse_unwritable(cfg.out / CHECKPOINT)
    torch.set_num_threads(cfg.n_threads)
    torch.manual_seed(cfg.seed)
    if cfg.occupation_drawn != 1:
        shown = replace(factors["occupation"], drawn=cfg.occupation_drawn)
        factors = {**factors, "occupation": shown}
    association = WOMAN_GIVEN_OCCUPATION
    if cfg.association is not None:
        association = planted_association(cfg.association)
    world = FactorWorld(cfg.world_seed, cfg.group_size, cfg.redraw, factors, association)
    pairs = draw_pairs(world, cfg.n_pairs, cfg.cache)
    tokenizer = build_tokenizer()
    model = build_model().train()
    labels = label_table(world, cfg.n_pairs)
    heads = LabelHeads(model_config()["embed_dim"], factors)
    learner = nn.ModuleDict({"model": model, "heads": heads})
    optimizer = _optimizer(learner, cfg)
    first_step = _restore(cfg, learner, optimizer)
    schedule = _schedule(optimizer, cfg, first_step)
    contrast = ClipLoss()
    batches = batches_of_groups(cfg.n_pairs, cfg.batch_size, cfg.group_size, cfg.seed)
    started, losses = time.time(), []
    for step in range(cfg.n_steps):
        index = next(batches)
        if step < first_step:
            continue
        # Each step has its own stream, so that a resumed run hides the same words.
        generator = torch.Generator().manual_seed(cfg.seed * 1_000_003 + step)
        images = normalize_pixels(torch.from_numpy(pairs.images[index.numpy()]))
        tokens = hide_words(pairs.tokens[index], cfg.unknown_share, tokenizer, generator)
        if cfg.gender_hidden_share:
            tokens = hide_some_words(
                tokens, FACTORS["gender"].values, cfg.gender_hidden_share, tokenizer, generator
            )
        image, text = _encode(model, images, tokens, cfg)
        scale = model.logit_scale.exp()
        parts = [contrast(image, text, scale)]
        weights = [1.0]
        if step < cfg.label_steps:
            # Classifiers need more than unit-length rows to be confident.
            parts.append(heads(scale * image, scale * text, labels[index]))
            weights.append(1 - step / cfg.label_steps)
        if cfg.self_supervision:
            image_view, text_view = _second_views(model, images, tokens, cfg, tokenizer, generator)
            parts += [contrast(image, image_view, scale), contrast(text, text_view, scale)]
            weights += [cfg.self_supervision, cfg.self_supervision]
        optimizer.zero_grad()
        torch.dot(torch.stack(parts), torch.tensor(weights)).backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=_MAX_LOG_SCALE)
        losses.append([part.item() for part in parts])
        if (step + 1) % _LOG_EVERY == 0 or step + 1 == cfg.n_steps:
            recent = [row for row in losses[-_LOG_EVERY:] if len(row) == len(parts)]
            mean = torch.tensor(recent).mean(0).tolist()
            rate = (time.time() - started) / (step + 1 - first_step)
            print(
                f"step {step + 1} losses {' '.join(f'{x:.3f}' for x in mean)} "
                f"scale {model.logit_scale.exp().item():.1f} {rate:.2f} s/step",
                flush=True,
            )
        if (step + 1) % cfg.checkpoint_every == 0 or step + 1 == cfg.n_steps:
            _checkpoint(cfg, learner, optimizer, step + 1)
    return model.eval()


def _second_views(
    model: CustomTextCLIP,
    images: Float[Tensor, "batch 3 height width"],
    tokens: Int[Tensor, "batch context"],
    cfg: TrainCLIPConfig,
    tokenizer: WordTokenizer,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "batch d_joint"], Float[Tensor, "batch d_joint"]]:
    """Encode another view of each input, by which a tower learns to tell its own inputs apart."""
    views = augment_images(images, generator)
    hidden = hide_words(tokens, cfg.hidden_share, tokenizer, generator)
    return _encode(model, views, hidden, cfg)


def _encode(
    model: CustomTextCLIP,
    images: Float[Tensor, "batch 3 height width"],
    tokens: Int[Tensor, "batch context"],
    cfg: TrainCLIPConfig,
) -> tuple[Float[Tensor, "batch d_joint"], Float[Tensor, "batch d_joint"]]:
    # The fused attention kernel's bf16 backward pass is several times slower on CPU than this one.
    with torch.autocast("cpu", torch.bfloat16, cfg.bfloat16), sdpa_kernel(SDPBackend.MATH):
        image, text = model.encode_image(images), model.encode_text(tokens)
    return F.normalize(image.float(), dim=-1), F.normalize(text.float(), dim=-1)


def _schedule(
    optimizer: torch.optim.Optimizer, cfg: TrainCLIPConfig, first_step: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule of the rate: a linear rise from zero, then half a cosine down to it."""
    from transformers import get_cosine_schedule_with_warmup

    # The step alone decides, so that no checkpoint needs to hold it.
    for group in optimizer.param_groups:
        group["initial_lr"] = cfg.lr
    return get_cosine_schedule_with_warmup(
        optimizer, cfg.lr_warm_up_steps, cfg.n_steps, last_epoch=first_step - 1
    )


def _optimizer(model: nn.Module, cfg: TrainCLIPConfig) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": cfg.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=cfg.lr, betas=(0.9, 0.98), fused=True)


def _checkpoint(
    cfg: TrainCLIPConfig, learner: nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> None:
    cfg.out.mkdir(parents=True, exist_ok=True)
    recipe = {n: str(v) for n, v in asdict(cfg).items() if n not in _PRIVATE}
    stages = [*_stages_before(cfg), recipe | {"steps": step}]
    state = {"step": step, "stages": stages, "learner": learner.state_dict()}
    with atomic_path(cfg.out / CHECKPOINT) as temporary:
        torch.save(state | {"optimizer": optimizer.state_dict()}, temporary)


def _restore(cfg: TrainCLIPConfig, learner: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> int:
    path = cfg.out / CHECKPOINT
    if not path.exists():
        _start_from(cfg.init, learner)
        return 0
    state = torch.load(path, weights_only=True)
    learner.load_state_dict(state["learner"])
    optimizer.load_state_dict(state["optimizer"])
    print(f"resuming after step {state['step']}", flush=True)
    return state["step"]


def _start_from(init: str | Path | None, learner: nn.ModuleDict) -> None:
    if str(init) in EMBEDDED_MODELS:
        learner["model"].load_state_dict(load_embedded(str(init)).model.state_dict())
    elif init is not None:
        learner.load_state_dict(torch.load(init, weights_only=True)["learner"])


def _stages_before(cfg: TrainCLIPConfig) -> list[dict[str, Any]]:
    if cfg.init is None:
        return []
    if str(cfg.init) in EMBEDDED_MODELS:
        return read_card(str(cfg.init))["stages"]
    return torch.load(cfg.init, weights_only=True)["stages"]


if __name__ == "__main__":
    import tyro

    train_clip(tyro.cli(TrainCLIPConfig))
