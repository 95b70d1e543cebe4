"""All that is said of an SAE on a store: one pass for all sums, another for `carried`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch

from mm_sae_plugin.engines import Engine
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.factorworld.truth import factor_labels
from mm_sae_plugin.features.centred import centred
from mm_sae_plugin.features.feature_map import FeatureMap
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.pairs.world import has_own_table
from mm_sae_plugin.saes.untrained import untrained_sae
from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.carried.first_pass import FirstPass, first_sums
from mm_sae_plugin.stats.carried.result import CarriedDominance
from mm_sae_plugin.stats.carried.score import CarriedConfig, read_carried
from mm_sae_plugin.stats.config import ModalityConfig
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.examples import ExampleRows
from mm_sae_plugin.stats.gap import modality_gap_cosine
from mm_sae_plugin.stats.interfaces import Accumulator, PairedActivations
from mm_sae_plugin.stats.passes import Reading, pair_parts, run_pass
from mm_sae_plugin.stats.reconstruction import EvaluationSums, PerModalityEvaluation
from mm_sae_plugin.stats.scores import CARRIED
from mm_sae_plugin.stats.truth import TruthCheck, TruthSums, check_sums

if TYPE_CHECKING:
    from mm_sae_plugin.activations import ActivationStore

# The untrained SAE of the truth check: any seed will do, but always the same one.
_UNTRAINED_SEED = 1
# Rows that give an untrained SAE with thresholds the sparsity of the trained one.
_N_THRESHOLD_ROWS = 4096


@dataclass(frozen=True)
class Findings:
    """What a store says about an SAE."""

    dominance: ModalityDominance
    """Every latent's score, interval and class."""
    evaluation: PerModalityEvaluation
    """Explained variance, L0 and latents that never fire, for each modality."""
    examples: ExampleRows
    """The best images and captions of every latent."""
    truth: tuple[TruthCheck, TruthCheck] | None
    """The labels of this SAE and of an untrained one against the known factors; None where the
    store's pairs do not come from FactorWorld, or from one with a table of its own."""


def label_store(
    feature_map: SAEFeatureMap,
    store: "ActivationStore",
    cfg: ModalityConfig | None = None,
    engine: Engine | None = None,
    progress: bool = False,
) -> Findings:
    """Score and classify every latent of an SAE, and look at it from every side.

    The labels are taken twice, on the activations as they are and with each modality's mean
    removed, so that latents of the modality gap can be told from latents of content. Carried
    dominance takes a second pass.

    Parameters
    ----------
    feature_map : SAEFeatureMap
        The SAE.
    store : ActivationStore
        Raw activations of the encoder and hooks that it was trained on.
    cfg : ModalityConfig, optional
        Score and rule.
    engine : Engine, optional
        Where the pass runs; one thread by default.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        If the store holds one modality alone.
    """
    refuse_one_tower(store)
    means = torch.stack([store.means["image"], store.means["text"]])
    by_mean = Reading(
        centred(feature_map, means), {"modality": ModalityStatistics(feature_map.n_features)}
    )
    pairs = cast(PairedActivations, store)
    cfg = cfg or ModalityConfig()
    trained, *untrained = _readings(feature_map, pairs, cfg, store.manifest.source)
    asks = first_sums(pairs, feature_map.n_features)
    trained = Reading(feature_map, {**trained.accumulators, **asks})
    readings = [trained, *untrained, by_mean]
    main, *null, moved = run_pass(pairs, readings, engine, progress=progress)
    stats = _modality(main)
    # What is untrained is asked for the carried score only where it gives the labels.
    asked: list[tuple[FeatureMap, Mapping[str, Accumulator]]] = [(feature_map, main)]
    if untrained and cfg.score == CARRIED:
        asked.append((untrained[0].feature_map, null[0]))
    carried, *by_chance = _carried(asked, pairs, cfg, engine, progress)
    of_codes = replace(cfg, score=cfg.code_score)
    dominance = (
        ModalityDominance.from_config(stats, cfg, carried)
        .with_gap(modality_gap_cosine(feature_map, stats))
        .with_centred(ModalityDominance.from_config(_modality(moved), of_codes))
        .from_store(store.manifest.key)
    )
    return _findings(dominance, main, _truth(dominance, main, null, by_chance))


def label_features(
    feature_map: FeatureMap,
    store: PairedActivations,
    cfg: ModalityConfig | None = None,
    engine: Engine | None = None,
    progress: bool = False,
) -> ModalityDominance:
    """Score and classify every feature of any map on pairs as they are, carried dominance included.

    What needs an SAE or known factors is left to :func:`label_store`, so that comparators and
    nulls are labelled by the very same rule.

    Parameters
    ----------
    feature_map : FeatureMap
        Anything that encodes both modalities.
    store : PairedActivations
        Raw activations; a store, or what stands in its place under a null.
    cfg : ModalityConfig, optional
        Score and rule.
    engine : Engine, optional
        Where the passes run; one thread by default.
    progress : bool
        Show a progress bar.
    """
    cfg, n_features = cfg or ModalityConfig(), feature_map.n_features
    sums: dict[str, Accumulator] = {
        "modality": ModalityStatistics(n_features),
        **first_sums(store, n_features),
    }
    (taken,) = run_pass(store, [Reading(feature_map, sums)], engine, progress=progress)
    (carried,) = _carried([(feature_map, taken)], store, cfg, engine, progress)
    return ModalityDominance.from_config(_modality(taken), cfg, carried)


def untrained_features(
    feature_map: SAEFeatureMap, store: PairedActivations, seed: int = _UNTRAINED_SEED
) -> SAEFeatureMap:
    """Features of an SAE of random weights, otherwise like another, and as sparse on a store."""
    rows = next(pair_parts(store, _N_THRESHOLD_ROWS))
    acts = feature_map.normalization.apply(rows.acts_image[rows.first_of_image], "image")
    sae = untrained_sae(feature_map.sae, seed, acts)
    return SAEFeatureMap(sae, feature_map.normalization)


def is_truth_known(store: PairedActivations, source: str) -> bool:
    """Say whether the pairs come from FactorWorld with its own factors, given their source."""
    has_labels = all(label in store.labels for label in factor_labels(FACTORS))
    # Another table's rates are not those of FACTORS, which would be taken for the truth.
    return has_labels and not has_own_table(source)


def refuse_one_tower(store: "ActivationStore") -> None:
    """Raise ``UserError`` for a store of images alone: it says nothing of captions."""
    if store.manifest.text_hook is None:
        raise UserError(
            "Labels of modality need images and captions, and the store holds images alone (it "
            "was extracted without a text hook): give the activations of both towers."
        )


def inspect_store(
    feature_map: SAEFeatureMap,
    store: "ActivationStore",
    dominance: ModalityDominance,
    engine: Engine | None = None,
    progress: bool = False,
) -> Findings:
    """Look at an SAE that is labelled already; the arguments are those of :func:`label_store`."""
    refuse_one_tower(store)
    pairs = cast(PairedActivations, store)
    readings = _readings(feature_map, pairs, dominance.cfg, store.manifest.source)
    main, *null = run_pass(pairs, readings, engine, progress=progress)
    by_chance = []
    if null and dominance.cfg.score == CARRIED:
        asked = [(readings[1].feature_map, null[0])]
        by_chance = _carried(asked, pairs, dominance.cfg, engine, progress)
    return _findings(dominance, main, _truth(dominance, main, null, by_chance))


def _readings(
    feature_map: SAEFeatureMap, store: PairedActivations, cfg: ModalityConfig, source: str
) -> list[Reading]:
    """The SAE, and an untrained one where the truth is known."""
    n_features = feature_map.n_features
    accumulators: dict[str, Accumulator] = {
        "modality": ModalityStatistics(n_features),
        "evaluation": EvaluationSums(),
        "examples": ExampleRows.of(store),
    }
    if not is_truth_known(store, source):
        return [Reading(feature_map, accumulators)]
    truth = TruthSums.of(store, FACTORS, n_features)
    untrained: dict[str, Accumulator] = {
        "modality": ModalityStatistics(n_features),
        "truth": truth,
    }
    if cfg.score == CARRIED:
        untrained |= first_sums(store, n_features)
    return [
        Reading(feature_map, accumulators | {"truth": truth}),
        Reading(untrained_features(feature_map, store), untrained),
    ]


def _carried(
    asked: Sequence[tuple[FeatureMap, Mapping[str, Accumulator]]],
    store: PairedActivations,
    cfg: ModalityConfig,
    engine: Engine | None,
    progress: bool,
) -> list[CarriedDominance]:
    """The carried score of feature maps, each with what the first pass took: one pass for all."""
    first_passes = [FirstPass.of(feature_map, taken) for feature_map, taken in asked]
    settings = CarriedConfig(confidence=cfg.confidence)
    return read_carried(first_passes, store, settings, engine, progress)


def _truth(
    dominance: ModalityDominance,
    main: Mapping[str, Accumulator],
    null: Sequence[Mapping[str, Accumulator]],
    carried_by_chance: Sequence[CarriedDominance],
) -> tuple[TruthCheck, TruthCheck] | None:
    """The labels of the SAE and of the untrained one, checked; None where no truth is known."""
    if not null:
        return None
    cfg, (by_chance,) = dominance.cfg, null
    carried = next(iter(carried_by_chance), None)
    chance = ModalityDominance.from_config(_modality(by_chance), cfg, carried)
    return _check(main, dominance), _check(by_chance, chance)


def _findings(
    dominance: ModalityDominance,
    main: Mapping[str, Accumulator],
    truth: tuple[TruthCheck, TruthCheck] | None,
) -> Findings:
    return Findings(
        dominance,
        cast(EvaluationSums, main["evaluation"]).evaluation(),
        cast(ExampleRows, main["examples"]),
        truth,
    )


def _check(taken: Mapping[str, Accumulator], dominance: ModalityDominance) -> TruthCheck:
    sums = cast(TruthSums, taken["truth"])
    return check_sums(sums, dominance, FACTORS, calibration_score=dominance.cfg.score)


def _modality(taken: Mapping[str, Accumulator]) -> ModalityStatistics:
    return cast(ModalityStatistics, taken["modality"])
