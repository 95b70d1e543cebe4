"""One training step of an SAE on pairs."""

from dataclasses import dataclass
from typing import Any

from sae_lens.saes.sae import TrainCoefficientConfig, TrainStepInput, TrainStepOutput
from torch import Tensor


@dataclass
class PairStep:
    """What one step gave."""

    output: TrainStepOutput
    gradients: dict[str, Tensor]


def pair_step(sae: Any, acts: Tensor, step: int = 0, is_dead: Tensor | None = None) -> PairStep:
    """Run one step at full weight, and its backward pass."""
    coefficients = {
        name: value.value if isinstance(value, TrainCoefficientConfig) else value
        for name, value in sae.get_coefficients().items()
    }
    output = sae.training_forward_pass(
        TrainStepInput(
            sae_in=acts,
            coefficients=coefficients,
            dead_neuron_mask=is_dead,
            n_training_steps=step,
            is_logging_step=False,
        )
    )
    sae.zero_grad()
    output.loss.backward()
    return PairStep(output, {name: p.grad.clone() for name, p in sae.named_parameters()})
