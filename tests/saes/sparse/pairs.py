"""Stock and sparse SAEs with the same weights, and one step of each."""

from dataclasses import dataclass
from typing import Any

import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    TopKTrainingSAE,
    TopKTrainingSAEConfig,
)
from sae_lens.saes.sae import TrainStepInput, TrainStepOutput
from torch import Tensor

from mm_sae_plugin.saes import (
    SparseBatchTopKTrainingSAE,
    SparseBatchTopKTrainingSAEConfig,
    SparseTopKTrainingSAE,
    SparseTopKTrainingSAEConfig,
)

STOCK = {
    "topk": (TopKTrainingSAE, TopKTrainingSAEConfig),
    "batchtopk": (BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig),
}
SPARSE = {
    "topk": (SparseTopKTrainingSAE, SparseTopKTrainingSAEConfig),
    "batchtopk": (SparseBatchTopKTrainingSAE, SparseBatchTopKTrainingSAEConfig),
}


def stock_and_sparse(architecture: str, *, seed: int = 0, **config: Any) -> tuple[Any, Any]:
    """Return two SAEs with equal weights, none of them at zero; the sparse one never is dense."""
    stock_class, stock_config = STOCK[architecture]
    sparse_class, sparse_config = SPARSE[architecture]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        stock = stock_class(stock_config(**config))
        for parameter in stock.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    sparse = sparse_class(sparse_config(**config, sparse_kernels=True))
    sparse.load_state_dict(stock.state_dict())
    return stock, sparse


@dataclass
class Step:
    """What one step gave."""

    output: TrainStepOutput
    codes: Tensor
    gradients: dict[str, Tensor]


def step(sae: Any, x: Tensor, is_dead: Tensor | None = None) -> Step:
    """Run one training step and its backward pass."""
    output = sae.training_forward_pass(
        TrainStepInput(
            sae_in=x,
            coefficients={},
            dead_neuron_mask=is_dead,
            n_training_steps=0,
            is_logging_step=False,
        )
    )
    sae.zero_grad()
    output.loss.backward()
    codes = output.feature_acts.detach()
    return Step(
        output,
        codes.to_dense() if codes.is_sparse else codes,
        {name: parameter.grad.clone() for name, parameter in sae.named_parameters()},
    )


def assert_same_step(ours: Step, stock: Step, tolerance: float = 1e-5) -> None:
    """Compare losses, codes and every gradient, relative to the size of stock's."""
    torch.testing.assert_close(ours.codes, stock.codes, rtol=tolerance, atol=1e-6)
    torch.testing.assert_close(
        ours.output.sae_out, stock.output.sae_out, rtol=tolerance, atol=tolerance
    )
    assert ours.output.losses.keys() == stock.output.losses.keys()
    for name, loss in stock.output.losses.items():
        torch.testing.assert_close(ours.output.losses[name], loss, rtol=tolerance, atol=1e-9)
    for name, gradient in stock.gradients.items():
        assert ours.gradients[name].dtype == gradient.dtype
        difference = (ours.gradients[name] - gradient).norm()
        assert difference <= tolerance * gradient.norm() + 1e-12, name
