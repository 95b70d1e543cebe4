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
    n_dead: Mapping[str, int]
    """`image` and `text`: latents that never fire on that side; `both`: on neither."""

    @classmethod
    def of(cls, evaluation: "EvaluationLike") -> "EvaluationFigures":
        """Take what `evaluate_per_modality` returns, or the keys of `summary.json`.

        `n_dead` may be one number (latents dead on both sides) or one per side; then, or beside
        it, `n_dead_by_modality` has one per side.
        """
        if isinstance(evaluation, EvaluationFigures):
            return evaluation
        content = evaluation if isinstance(evaluation, Mapping) else evaluation.to_dict()
        dead = content.get("n_never_firing", content.get("n_dead", {}))
        by_side = dict(dead) if isinstance(dead, Mapping) else {"both": int(dead)}
        return cls(
            explained_variance=dict(content["explained_variance"]),
            l0=dict(content["l0"]),
            n_dead=by_side
            | dict(
                content.get("n_never_firing_by_modality", content.get("n_dead_by_modality", {}))
            ),
        )


EvaluationLike = Union[EvaluationFigures, "PerModalityEvaluation", Mapping[str, Any]]
"""Whatever says how well an SAE reconstructs each modality."""
