"""How well each group is served: accuracy and selection by group, through fairlearn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_sae_plugin.errors import UserError


@dataclass(frozen=True)
class SubgroupAccuracy:
    """Accuracy over everyone, each group, and each intersection of groups."""

    overall: float
    """Over all images."""
    by_group: dict[str, dict[str, float]]
    """Column to its groups' accuracies."""
    counts: dict[str, dict[str, int]]
    """Column to its groups' sizes."""
    intersectional: dict[tuple[str, ...], float]
    """Accuracy of each combination of the columns' groups that has images."""
    intersectional_counts: dict[tuple[str, ...], int]
    """Their sizes."""
    worst: tuple[str, ...]
    """The combination with the least accuracy."""
    worst_accuracy: float
    """Its accuracy."""


@dataclass(frozen=True)
class Parity:
    """How often each group is selected. The difference describes; it is not what is tested."""

    rates: dict[str, float]
    """Group to the share of its images that are selected."""
    difference: float
    """Largest less smallest."""
    ratio: float
    """Smallest over largest."""


def subgroup_accuracy(
    truth: Sequence[str], predicted: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> SubgroupAccuracy:
    """Return the accuracy of predictions by group, intersectional and at worst.

    Parameters
    ----------
    truth, predicted : sequence of str
        Of every image.
    groups : mapping of str to sequence of str
        Column to every image's group in it.

    Raises
    ------
    UserError
        If there are no images or columns, or one has another length.
    """
    columns = {name: list(values) for name, values in groups.items()}
    if not truth or not columns:
        raise UserError("There is nothing to be accurate about: give images and a group column.")
    for name, values in {"predictions": predicted, **columns}.items():
        if len(values) != len(truth):
            raise UserError(
                f"There are {len(values)} values of {name!r:.60} for {len(truth)} images: give one "
                "for each."
            )
    from fairlearn.metrics import MetricFrame, count
    from sklearn.metrics import accuracy_score

    # What a frame holds depends on what it was asked, which its annotations cannot say.
    def frame_of(names: Mapping[str, list[str]]) -> Any:
        return MetricFrame(
            metrics={"accuracy": accuracy_score, "count": count},
            y_true=list(truth),
            y_pred=list(predicted),
            sensitive_features=dict(names),
        )

    single = {name: frame_of({name: values}).by_group for name, values in columns.items()}
    frame = frame_of(columns)
    # A combination without images has no accuracy.
    joint = frame.by_group.dropna(subset=["accuracy"])
    keys = [key if isinstance(key, tuple) else (key,) for key in joint.index]
    accuracies = dict(zip(keys, map(float, joint["accuracy"]), strict=True))
    worst = min(accuracies, key=lambda key: accuracies[key])
    return SubgroupAccuracy(
        float(frame.overall["accuracy"]),
        {name: {k: float(v) for k, v in one["accuracy"].items()} for name, one in single.items()},
        {name: {k: int(v) for k, v in one["count"].items()} for name, one in single.items()},
        accuracies,
        dict(zip(keys, map(int, joint["count"]), strict=True)),
        worst,
        accuracies[worst],
    )


def parity(selected: Sequence[bool], group: Sequence[str]) -> Parity:
    """Return how often each group is selected, such as among the first k or by a classifier.

    Parameters
    ----------
    selected : sequence of bool
        Of every image.
    group : sequence of str
        Of every image.
    """
    if not selected or len(selected) != len(group):
        raise UserError(f"There are {len(group)} groups for {len(selected)} images: give one each.")
    from fairlearn.metrics import MetricFrame, selection_rate

    chosen = [int(one) for one in selected]
    frame: Any = MetricFrame(
        metrics=selection_rate, y_true=chosen, y_pred=chosen, sensitive_features=list(group)
    )
    rates = {str(name): float(rate) for name, rate in frame.by_group.items()}
    return Parity(rates, float(frame.difference()), float(frame.ratio()))
