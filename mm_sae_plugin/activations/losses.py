"""What an extraction could not use: how much of it is too much, and what is told of it."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import PairSource

_N_REASONS = 3


def check_plan(plan: ExtractionPlan, source: PairSource, cfg: ExtractConfig) -> None:
    """Refuse pairs of which too many are lost before anything is encoded."""
    if cfg.strict and plan.skipped:
        name, reason = plan.skipped[0]
        raise UserError(f"{name}: {reason}; mend or remove it, or leave strict out to skip it.")
    if cfg.text_hook and not any(caption.strip() for caption in plan.captions):
        raise UserError(
            f"{source.spec} has no captions: give some, or leave the text tower out with "
            "text_hook=None."
        )
    # Before hours of encoding, and before there is a store of a source that will be mended.
    _refuse_losses(plan, source, cfg, plan.lost, len(plan.lost))


def check_skipped(
    plan: ExtractionPlan,
    source: PairSource,
    out: Path,
    cfg: ExtractConfig,
    n_kept: int,
    skipped: Sequence[tuple[str, str]],
) -> None:
    """Refuse to call an extraction finished that lost too much."""
    n_lost = plan.n_pairs - n_kept
    if cfg.strict and n_lost:
        name, reason = skipped[0]
        raise UserError(f"{name}: {reason}; mend or remove it, or leave strict out to skip it.")
    kept = f" What could be encoded is kept in {out}."
    _refuse_losses(plan, source, cfg, [*plan.lost, *skipped], n_lost + len(plan.lost), kept)


def _refuse_losses(
    plan: ExtractionPlan,
    source: PairSource,
    cfg: ExtractConfig,
    skipped: Sequence[tuple[str, str]],
    n_lost: int,
    kept: str = "",
) -> None:
    if n_lost / plan.n_meant <= cfg.max_skipped:
        return
    listed = "; ".join(f"{name}: {reason}" for name, reason in skipped[:_N_REASONS])
    more = "; …" if len(skipped) > _N_REASONS else ""
    without = ", rows and samples without an image or an id among them," if plan.lost else ","
    raise UserError(
        f"{n_lost:,} of {plan.n_meant:,} pairs of {source.spec} could not be used{without} more "
        f"than the share of {cfg.max_skipped:g} that --max-skipped allows ({listed}{more}): mend "
        f"them and run the same command again, which tries them anew, or allow more.{kept}"
    )


def tell_cut_captions(store: ActivationStore) -> None:
    """Warn of captions that are longer than the model's context."""
    manifest = store.manifest
    if manifest.n_captions_cut:
        warnings.warn(
            f"{manifest.n_captions_cut:,} of {manifest.n_pairs:,} captions are longer than the "
            f"{manifest.context_length} tokens that {manifest.model_name} reads, and were cut "
            "there: their activations know nothing of the rest.",
            stacklevel=3,
        )
