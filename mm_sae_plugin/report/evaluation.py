"""How well an SAE reconstructs each modality, in the form in which it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
    def from_mapping(cls, content: Mapping[str, Any]) -> "EvaluationFigures":
        """Read the keys `explained_variance`, `l0` and `n_dead`, as `summary.json` has them.

        `n_dead` may be one number (latents dead on both sides) or one per side.
        """
        dead = content.get("n_dead", {})
        return cls(
            explained_variance=dict(content["explained_variance"]),
            l0=dict(content["l0"]),
            n_dead=dict(dead) if isinstance(dead, Mapping) else {"both": int(dead)},
        )
