"""One adapter per library that trains a TopK SAE, for the SAE training benchmark.

An adapter builds its SAE, trains it with the library's own loop and returns how to use it. All
have in common: TopK after a ReLU, fp32, Adam (0.9, 0.999) at one constant learning rate without
warm-up or decay, gradients clipped at norm 1, and the very same batches in the same order.

What differs, because each library is used as its documentation tells to:

- *Loss.* The squared error is summed over the width and averaged over the batch by SAELens, ours
  and dictionary-learning, and averaged over both by overcomplete's README. Adam hardly minds.
- *Dead latents.* SAELens and ours add an auxiliary loss after ``dead_feature_window`` steps (1000
  by default, more than the benchmark's), dictionary-learning after 10 million rows (not to be set),
  overcomplete's README none.
- *Decoder.* SAELens and ours leave its norms free and count them in the selection of latents;
  overcomplete normalises its rows at every use; dictionary-learning does so after every step and
  removes the gradient along them.
- *Encoder.* Linear, and starts as the decoder's transpose; overcomplete's starts on its own and
  has batch normalisation.
- *Bias.* The decoder's bias is taken from the input as well; it starts at zero in SAELens and ours,
  at the median row in dictionary-learning. overcomplete has none.
- *Bookkeeping.* SAELens' trainer counts the firings of every latent, overcomplete notes which have
  fired, dictionary-learning when each last did.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tests.benchmarks.sae_training_data import Batches


@dataclass(frozen=True)
class Recipe:
    """What a training is asked for, whatever the library."""

    d_in: int
    """Width of a row."""
    d_sae: int
    """Latents."""
    k: int
    """Active latents per row."""
    batch_size: int
    """Rows of a batch."""
    n_steps: int
    """Optimiser steps."""
    lr: float
    """Constant learning rate of Adam."""
    dead_feature_window: int
    """Steps without firing after which SAELens' auxiliary loss takes a latent for dead."""
    seed: int
    """Seed of the weights."""


@dataclass(frozen=True)
class TrainedSAE:
    """A trained SAE, ready for evaluation."""

    encode: Callable[[Float[Tensor, "n d_in"]], Float[Tensor, "n d_sae"]]
    """Rows to codes, zero where a latent is not active."""
    decode: Callable[[Float[Tensor, "n d_sae"]], Float[Tensor, "n d_in"]]
    """Codes to reconstructed rows."""


@dataclass(frozen=True)
class Method:
    """A library under test."""

    title: str
    """Name in the table and the figure."""
    distribution: str
    """Name that pip knows it by."""
    train: Callable[[Recipe, Batches], TrainedSAE]
    """Build and train an SAE; imports the library, which may fail."""


def train_ours(recipe: Recipe, batches: Batches) -> TrainedSAE:
    """Train our drop-in subclass of SAELens' TopK SAE with SAELens' own trainer."""
    from mm_sae_plugin.saes import SparseTopKTrainingSAE, SparseTopKTrainingSAEConfig

    return _train_with_saelens(SparseTopKTrainingSAEConfig, SparseTopKTrainingSAE, recipe, batches)


def train_saelens(recipe: Recipe, batches: Batches) -> TrainedSAE:
    """Train SAELens' TopK SAE with its default options."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

    return _train_with_saelens(TopKTrainingSAEConfig, TopKTrainingSAE, recipe, batches)


def train_saelens_sparse(recipe: Recipe, batches: Batches) -> TrainedSAE:
    """Train SAELens' TopK SAE with its own sparse activations."""
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig

    return _train_with_saelens(
        TopKTrainingSAEConfig, TopKTrainingSAE, recipe, batches, use_sparse_activations=True
    )


def _train_with_saelens(
    config_class: Any, sae_class: Any, recipe: Recipe, batches: Batches, **options: Any
) -> TrainedSAE:
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(recipe.seed)
    sae = sae_class(
        config_class(d_in=recipe.d_in, d_sae=recipe.d_sae, k=recipe.k, device="cpu", **options)
    )
    cfg = SAETrainerConfig(
        total_training_samples=recipe.n_steps * recipe.batch_size,
        train_batch_size_samples=recipe.batch_size,
        lr=recipe.lr,
        lr_end=recipe.lr,
        dead_feature_window=recipe.dead_feature_window,
        device="cpu",
    )
    SAETrainer(cfg, sae, iter(batches)).fit()

    def encode(rows: Tensor) -> Tensor:
        codes = sae.encode(rows)
        return codes.to_dense() if codes.layout != torch.strided else codes

    return TrainedSAE(encode, sae.decode)


def train_overcomplete(recipe: Recipe, batches: Batches) -> TrainedSAE:
    """Train overcomplete's TopKSAE with its ``train_sae``, as in its README.

    Batches replace the README's DataLoader, which would collate row by row, and monitoring is
    silent; both only make it faster.
    """
    from overcomplete.sae import TopKSAE, train_sae  # pyright: ignore[reportMissingImports]

    torch.manual_seed(recipe.seed)
    sae = TopKSAE(recipe.d_in, nb_concepts=recipe.d_sae, top_k=recipe.k, device="cpu")
    optimizer = torch.optim.Adam(sae.parameters(), lr=recipe.lr)

    def criterion(x: Tensor, x_hat: Tensor, *_: Tensor) -> Tensor:
        return (x - x_hat).square().mean()

    train_sae(sae, batches, criterion, optimizer, nb_epochs=1, monitoring=0, device="cpu")
    sae.eval()
    return TrainedSAE(lambda rows: sae.encode(rows)[1], sae.decode)


def train_dictionary_learning(recipe: Recipe, batches: Batches) -> TrainedSAE:
    """Train dictionary-learning's AutoEncoderTopK with its ``trainSAE``."""
    from dictionary_learning.trainers.top_k import (  # pyright: ignore[reportMissingImports]
        AutoEncoderTopK,
        TopKTrainer,
    )
    from dictionary_learning.training import trainSAE  # pyright: ignore[reportMissingImports]

    built = []

    def trainer(**options: Any) -> Any:
        # trainSAE gives its trainers back only through files.
        built.append(TopKTrainer(**options))
        return built[-1]

    trainer_config = {
        "trainer": trainer,
        "dict_class": AutoEncoderTopK,
        "activation_dim": recipe.d_in,
        "dict_size": recipe.d_sae,
        "k": recipe.k,
        "lr": recipe.lr,
        "warmup_steps": 0,
        "steps": recipe.n_steps,
        "seed": recipe.seed,
        "device": "cpu",
        # Names for its records; nothing is loaded by them.
        "layer": 0,
        "lm_name": "none",
    }
    trainSAE(batches, [trainer_config], steps=recipe.n_steps, device="cpu")
    sae = built[0].ae
    return TrainedSAE(sae.encode, sae.decode)


METHODS = {
    "ours": Method("mm_sae_plugin sparse_topk", "mm_sae_plugin", train_ours),
    "saelens": Method("SAELens topk", "sae-lens", train_saelens),
    "saelens_sparse": Method("SAELens topk, sparse", "sae-lens", train_saelens_sparse),
    "overcomplete": Method("overcomplete", "overcomplete", train_overcomplete),
    "dictionary_learning": Method(
        "dictionary-learning", "dictionary-learning", train_dictionary_learning
    ),
}
