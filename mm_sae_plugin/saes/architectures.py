"""SAELens' training architectures, with defaults that suit embeddings of any norm.

SAELens' defaults assume activations of norm sqrt(d_in). Joint embeddings have norm 1, so every
constant that has a unit (L1 coefficient, thresholds, bandwidth) is scaled by what is measured.
"""

from dataclasses import fields
from typing import Any

from sae_lens import TrainingSAEConfig
from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY, get_sae_training_class

from mm_sae_plugin.errors import UserError

# Importing the plugin's own architectures puts them into SAELens' registry.
from mm_sae_plugin.saes import aligned, group_sparse  # noqa: F401
from mm_sae_plugin.saes.sparse import batchtopk, topk  # noqa: F401

# At activations of norm sqrt(d_in); measured to give about 10 to 30 active latents.
_L1_COEFFICIENT = 2.0
_L0_COEFFICIENT = 1.0
# At activations of norm 1; what was measured stands in the modules' docstrings.
_ALIGNMENT_COEFFICIENT = 0.1
_GROUP_COEFFICIENT = 0.01


def training_sae_config(
    architecture: str,
    d_in: int,
    d_sae: int,
    k: int,
    *,
    input_norm: float = 1.0,
    sparsity_coefficient: float | None = None,
    pair_coefficient: float | None = None,
    warm_up_steps: int = 0,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
) -> TrainingSAEConfig:
    """Build the SAELens training config of an architecture.

    Parameters
    ----------
    architecture : str
        A name in SAELens' registry of training classes, plugins' own included: ``sparse_topk``,
        ``sparse_batchtopk``, ``aligned_topk`` and ``group_topk`` are this one's.
    d_in, d_sae : int
        Widths of the activations and of the dictionary.
    k : int
        Active latents per row: exact for those named after ``topk``, on average for those named
        after ``batchtopk``, the target of ``jumprelu``, the number of steps of
        ``matching_pursuit``; ``standard`` and ``gated`` have no such number.
    input_norm : float
        Mean distance of the activations from their mean, > 0.
    sparsity_coefficient : float, optional
        L1 coefficient (``standard``, ``gated``) or L0 coefficient (``jumprelu``) for activations
        of norm sqrt(d_in); it is rescaled to ``input_norm``.
    pair_coefficient : float, optional
        Weight of the loss on pairs (``aligned_topk``, ``group_topk``) for activations of norm 1; it
        is rescaled to ``input_norm``.
    warm_up_steps : int
        Steps over which the penalty on codes grows to its full weight.
    seed : int
        Seed of what is random in a training step: the masks of ``group_topk``.
    dtype, device : str
        As in SAELens.

    Returns
    -------
    TrainingSAEConfig
        The architecture's own config class.

    Raises
    ------
    UserError
        If the architecture is unknown, the widths make no sense, or a weight is given that the
        architecture does not have.
    """
    known = sorted(SAE_TRAINING_CLASS_REGISTRY)
    if architecture not in known:
        raise UserError(f"Unknown architecture {architecture!r}: choose one of {', '.join(known)}.")
    if not 1 <= k <= d_sae:
        raise UserError(f"k = {k} must lie between 1 and d_sae = {d_sae}.")
    unit = input_norm / d_in**0.5
    options = _options(architecture, d_sae, k, unit, sparsity_coefficient, warm_up_steps)
    options |= _pair_options(architecture, input_norm, pair_coefficient, warm_up_steps, seed)
    config_class = get_sae_training_class(architecture)[1]
    # An architecture that another plugin registered takes what it has fields for.
    names = {field.name for field in fields(config_class)}
    if pair_coefficient is not None and "pair_coefficient" not in names:
        raise UserError(
            f"{architecture!r} has no loss on pairs for pair_coefficient to weigh: leave it out, "
            "or choose aligned_topk or group_topk."
        )
    return config_class(
        d_in=d_in,
        d_sae=d_sae,
        dtype=dtype,
        device=device,
        **{name: value for name, value in options.items() if name in names},
    )


def _options(
    architecture: str,
    d_sae: int,
    k: int,
    unit: float,
    coefficient: float | None,
    warm_up_steps: int,
) -> dict[str, Any]:
    if architecture in ("standard", "gated"):
        l1 = _L1_COEFFICIENT if coefficient is None else coefficient
        # The squared error grows with the square of the scale, the L1 norm with the scale.
        return {"l1_coefficient": l1 * unit, "l1_warm_up_steps": warm_up_steps}
    if architecture == "jumprelu":
        l0 = _L0_COEFFICIENT if coefficient is None else coefficient
        return {
            "jumprelu_sparsity_loss_mode": "quadratic",
            "target_l0": float(k),
            "jumprelu_init_threshold": 0.5 * unit,
            "jumprelu_bandwidth": 2.0 * unit,
            # Counts have no unit, the squared error has that of the activations' square.
            "l0_coefficient": l0 * unit**2,
            "l0_warm_up_steps": warm_up_steps,
        }
    if architecture == "matching_pursuit":
        # The decoder's rows are the atoms that are projected on, so they start at length 1.
        return {"max_iterations": k, "residual_threshold": 1e-2 * unit, "decoder_init_norm": 1.0}
    options: dict[str, Any] = {"k": float(k) if "batchtopk" in architecture else k}
    if architecture == "matryoshka_batchtopk":
        widths = {max(k, d_sae // 8), max(k, d_sae // 4), max(k, d_sae // 2), d_sae}
        options["matryoshka_widths"] = sorted(width for width in widths if width <= d_sae)
    return options


def _pair_options(
    architecture: str, input_norm: float, coefficient: float | None, warm_up_steps: int, seed: int
) -> dict[str, Any]:
    # The alignment loss grows with the square of the scale, as the error does, and the norm of a
    # group with the scale.
    scales = {
        "aligned_topk": (_ALIGNMENT_COEFFICIENT, 1.0),
        "group_topk": (_GROUP_COEFFICIENT, input_norm),
    }
    if architecture not in scales:
        return {}
    default, scale = scales[architecture]
    return {
        "pair_coefficient": (default if coefficient is None else coefficient) * scale,
        "pair_warm_up_steps": warm_up_steps,
        "mask_seed": seed,
    }
