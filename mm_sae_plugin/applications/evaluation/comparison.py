"""One table of many systems: the SAE, the model's own dimensions, whatever else has features."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mm_sae_plugin.applications.evaluation.comparators import COMPARATORS, Like, build
from mm_sae_plugin.applications.evaluation.comparison_config import OWN, QUICK, ComparisonConfig
from mm_sae_plugin.applications.evaluation.system_row import SystemRow, measured
from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from mm_sae_plugin.activations import ActivationStore
    from mm_sae_plugin.engines import Engine
    from mm_sae_plugin.features.feature_map import FeatureMap
    from mm_sae_plugin.stats.interfaces import PairedActivations
    from mm_sae_plugin.study import Study

Monosemanticity = Callable[[str, "FeatureMap", "PairedActivations"], Mapping[str, Any]]
"""Measures a feature map, given its name, on a store; plain JSON."""


@dataclass(frozen=True)
class System:
    """A row to be: features of one model, and the activations that they are measured on."""

    name: str
    """What the row is called."""
    feature_map: "FeatureMap"
    """Encodes both modalities."""
    store: "PairedActivations"
    """Raw activations of the model that the features are of."""
    build_seconds: float | None = None
    """What it took to make, where that is known."""

    @classmethod
    def built(
        cls,
        comparator: str,
        store: "ActivationStore | PairedActivations",
        like: Like,
        seed: int = 0,
        name: str | None = None,
    ) -> "System":
        """Make a comparator on any store, that of another model for instance."""
        started = time.perf_counter()
        pairs = cast("PairedActivations", store)
        feature_map = build(comparator, pairs, like, seed)
        return cls(name or comparator, feature_map, pairs, time.perf_counter() - started)


@dataclass(frozen=True)
class Comparison:
    """The table."""

    rows: list[SystemRow]
    """One for each system, in the order asked for."""
    cfg: ComparisonConfig
    """How they were measured."""
    failed: dict[str, str] = field(default_factory=dict)
    """Systems that could not be made, each with the sentence that says why."""

    def row(self, name: str) -> SystemRow:
        """The row of one system.

        Raises
        ------
        UserError
            If there is none of that name.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise UserError(f"There is no row {name!r}; there are {', '.join(self.names)}.")

    @property
    def names(self) -> list[str]:
        """Names of all rows."""
        return [row.name for row in self.rows]

    def record(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return {
            "rows": [row.record() for row in self.rows],
            "failed": dict(self.failed),
            "settings": asdict(self.cfg),
        }

    def table(self) -> "pd.DataFrame":
        """One row a system, one column a figure, for people."""
        import pandas as pd

        return pd.DataFrame([row.flat() for row in self.rows])


def compare(
    study: "Study",
    names: Sequence[str] = QUICK,
    cfg: ComparisonConfig | None = None,
    others: Sequence[System] = (),
    monosemanticity: Monosemanticity | None = None,
    engine: "Engine | None" = None,
    tell: Callable[[str], None] | None = None,
) -> Comparison:
    """Make systems of the study's store, and measure all alike.

    Parameters
    ----------
    study : Study
        Gives the SAE, its size, and the store.
    names : sequence of str
        `sae` for the study's own, or names in `COMPARATORS`.
    cfg : ComparisonConfig, optional
        How to label and measure.
    others : sequence of System
        Ready ones, such as another model's own dimensions on its own store.
    monosemanticity : callable, optional
        Is given each system's name, feature map and store; what it returns joins the row.
    engine : Engine, optional
        Where the passes run; one thread by default.
    tell : callable, optional
        Is given a line whenever a row is finished.

    Raises
    ------
    UserError
        If a name is unknown or given twice, or the store holds one modality alone, before anything
        is done. A system that cannot be made or measured is listed in `failed` instead.
    """
    from mm_sae_plugin.stats.labelling import refuse_one_tower

    cfg, tell = cfg or ComparisonConfig(), tell or (lambda _line: None)
    refuse_one_tower(study.store)
    store, like = cast("PairedActivations", study.store), Like.of_study(study, cfg.training_steps)
    check_names([*names, *(system.name for system in others)], set(names), set(COMPARATORS))
    rows: list[SystemRow] = []
    failed: dict[str, str] = {}
    ready = {system.name: system for system in others}
    for name in [*names, *ready]:
        try:
            labels = None
            if name in ready:
                system = ready[name]
            elif name == OWN:
                system, labels = System(OWN, study.feature_map, store), study.labels
            else:
                system = System.built(name, store, like, cfg.seed)
            row = measured(
                *(system.name, system.feature_map, system.store, cfg),
                labels=labels,
                monosemanticity=monosemanticity,
                engine=engine,
                build_seconds=system.build_seconds,
            )
        except UserError as error:
            failed[name] = str(error)
            tell(f"{name}: {error}")
            continue
        rows.append(row)
        tell(f"{name}: {sum(s for s in row.seconds.values() if s is not None):.1f} s")
    return Comparison(rows, cfg, failed)


def same_pairs_of(study: "Study", model_name: str, folder: str | Path) -> "ActivationStore":
    """Extract the study's pairs with another model, at the same hooks, into a folder.

    With `factorworld-declip` this is what the paper's DeCLIP row is measured on. A folder that
    holds them already is only opened.

    Raises
    ------
    UserError
        If the pairs cannot be had any more, or the model has no such hooks.
    """
    from mm_sae_plugin.activations import ExtractConfig, extract
    from mm_sae_plugin.models import load_model
    from mm_sae_plugin.pairs import load_pairs

    manifest = study.store.manifest
    hooks = ExtractConfig(image_hook=manifest.image_hook, text_hook=manifest.text_hook)
    pairs = load_pairs(manifest.source)
    return extract(load_model(model_name), pairs, folder, hooks, progress=False)


def check_names(names: list[str], asked: set[str], known: set[str]) -> None:
    """Raise ``UserError`` for a comparator that is not known, or a system asked for twice."""
    unknown = sorted(asked - known - {OWN})
    if unknown:
        every = ", ".join([OWN, *sorted(known)])
        raise UserError(f"There is no comparator {unknown[0]!r}: choose from {every}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"The system {twice[0]!r} is asked for twice: give each a name of its own.")
