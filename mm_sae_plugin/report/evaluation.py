"""How well an SAE reconstructs each modality, in the form in which it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from mm_sae_plugin.stats.reconstruction import PerModalityEvaluation


@dataclass(frozen=True)
class EvaluationFigures:
    """Reconstruction per modality."""

    explained_variance: Mapping[str, float]
    """`image` and `text`: share of the variance explained, at most 1."""
    l0: Mapping[str, float]
    """`image` and `text`: mean number of active latents per row."""
    n_never_firing: Mapping[str, int]
    """`image` and `text`: latents that never fire in that modality; `both`: in neither."""

    @classmethod
    def of(cls, evaluation: "EvaluationLike") -> "EvaluationFigures":
        """Take what `evaluate_per_modality` returns, or the keys of `summary.json`.

        `n_never_firing` may be one number (latents that fire on neither side) or one per side;
        then, or beside it, `n_never_firing_by_modality` has one per side. Records of older
        versions call the two `n_dead` and `n_dead_by_modality`.
        """
        if isinstance(evaluation, EvaluationFigures):
            return evaluation
        content = evaluation if isinstance(evaluation, Mapping) else evaluation.to_dict()
        by_side = content.get("n_never_firing_by_modality", content.get("n_dead_by_modality", {}))
        # A new record's `n_dead` counts latents too rare to be labelled, which is another number.
        older = {} if "n_never_firing_by_modality" in content else content.get("n_dead", {})
        silent = content.get("n_never_firing", older)
        on_neither = silent if isinstance(silent, Mapping) else {"both": int(silent)}
        return cls(
            explained_variance=dict(content["explained_variance"]),
            l0=dict(content["l0"]),
            n_never_firing={**on_neither, **by_side},
        )


EvaluationLike = Union[EvaluationFigures, "PerModalityEvaluation", Mapping[str, Any]]
"""Whatever says how well an SAE reconstructs each modality."""
