"""What an SAE is compared with: named recipes that make a feature map from a store.

Whatever has a size takes that of the SAE: as many latents in all, as many active in a row. SAEs are
trained with its settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json

if TYPE_CHECKING:
    from mm_sae_plugin.features.feature_map import FeatureMap
    from mm_sae_plugin.stats.interfaces import PairedActivations
    from mm_sae_plugin.study import Study

_DEFAULT_K = 16
# What decides a training beside the size, so that a rival is trained as well as the SAE was.
_TRAINING = (
    *("train_batch_size_samples", "lr", "lr_end", "lr_scheduler_name", "adam_beta1", "adam_beta2"),
    "normalize",
)


@dataclass(frozen=True)
class Like:
    """The SAE that comparators take their size from."""

    d_sae: int
    """Latents."""
    k: int
    """Active latents per row."""
    training_steps: int | None = None
    """Optimiser steps of whatever is trained; None for each trainer's default."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Other settings of SAE trainings, by the names of `MultimodalSAERunnerConfig`."""

    @classmethod
    def of_study(cls, study: "Study", training_steps: int | None = None) -> "Like":
        """Take size and training settings from a study's SAE.

        Learning rate, batch, normalisation and, unless they are given, the steps are those of the
        SAE where its folder notes them, as one trained by this package does.
        """
        from mm_sae_plugin.saes.folder_files import RUNNER_CFG_FILENAME

        path = study.path / RUNNER_CFG_FILENAME
        noted = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
        size = cls.of(study.sae.cfg, training_steps or noted.get("n_steps"))
        return replace(size, training={name: noted[name] for name in _TRAINING if name in noted})

    @classmethod
    def of(cls, sae_cfg: Any, training_steps: int | None = None) -> "Like":
        """Read the size off the config of a SAELens SAE.

        Where it has no k, its mean number of active latents is taken if the config notes it, and
        the package's default of 16 otherwise.
        """
        k = getattr(sae_cfg, "k", None) or sae_cfg.metadata.l0 or _DEFAULT_K
        return cls(sae_cfg.d_sae, min(max(round(k), 1), sae_cfg.d_sae), training_steps)


Build = Callable[["PairedActivations", Like, int], "FeatureMap"]
"""Makes a feature map of a store, the size of an SAE and a seed."""


@dataclass(frozen=True)
class Comparator:
    """A recipe."""

    sentence: str
    """What it is, for people."""
    build: Build
    """How it is made."""


def build(name: str, store: "PairedActivations", like: Like, seed: int = 0) -> "FeatureMap":
    """Make a comparator by its name.

    Raises
    ------
    UserError
        If there is none of that name, or it cannot be made of the store.
    """
    if name not in COMPARATORS:
        known = ", ".join(COMPARATORS)
        raise UserError(f"There is no comparator {name!r}: choose one of {known}.")
    return COMPARATORS[name].build(store, like, seed)


def sae_of(architecture: str) -> Build:
    """Return the recipe of one shared SAE of any architecture in SAELens' registry."""

    def make(store: "PairedActivations", like: Like, seed: int) -> "FeatureMap":
        rows = {"acts_image": store.image_rows(), "acts_text": store.text_rows()}
        rows["image_index"] = store.image_index
        return _trained(architecture, like.d_sae, like, seed, rows)

    return make


def _trained(architecture: str, d_sae: int, like: Like, seed: int, rows: dict[str, Any]) -> Any:
    from mm_sae_plugin.features.sae import SAEFeatureMap
    from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner

    cfg = MultimodalSAERunnerConfig(
        architecture=architecture,
        d_sae=d_sae,
        k=min(like.k, d_sae),
        training_steps=like.training_steps,
        seed=seed,
        **like.training,
    )
    result = MultimodalSAETrainingRunner(cfg, **rows).run()
    return SAEFeatureMap(result.sae, result.normalization)


def _raw(store: "PairedActivations", like: Like, seed: int) -> "FeatureMap":
    from mm_sae_plugin.features.raw import RawDimensions

    return RawDimensions(_width(store))


def _pca(store: "PairedActivations", like: Like, seed: int) -> "FeatureMap":
    from mm_sae_plugin.features.pca import PrincipalComponents

    return PrincipalComponents.fit(store)


def _pca_k(store: "PairedActivations", like: Like, seed: int) -> "FeatureMap":
    from mm_sae_plugin.features.pca import PrincipalComponents

    # One half of each component is active: as many as the SAE has active latents.
    return PrincipalComponents.fit(store, min(like.k, _width(store), 2 * len(store.image_index)))


def _nmf(store: "PairedActivations", like: Like, seed: int) -> "FeatureMap":
    from mm_sae_plugin.features.nmf import NonNegativeFactors

    # More parts than dimensions would be found as slowly as they are ill determined.
    return NonNegativeFactors.fit(store, min(like.d_sae, _width(store)), seed=seed)


def _separate(store: "PairedActivations", like: Like, seed: int) -> "FeatureMap":
    from mm_sae_plugin.stats.coactivation_matching import match_by_coactivation

    # Half of the latents each, so that there are as many weights as in one shared SAE.
    half = max(like.d_sae // 2, 1)
    image = _trained("topk", half, like, seed, {"acts_image": store.image_rows()})
    text = _trained("topk", half, like, seed, {"acts_text": store.text_rows()})
    return match_by_coactivation(image, text, store)


def _ncl(shared: bool) -> Build:
    def make(store: "PairedActivations", like: Like, seed: int) -> "FeatureMap":
        from mm_sae_plugin.training.ncl import train_ncl
        from mm_sae_plugin.training.ncl_config import NCLConfig

        cfg = NCLConfig(n_features=like.d_sae, shared=shared, seed=seed)
        if like.training_steps is not None:
            cfg = replace(cfg, training_steps=like.training_steps)
        return train_ncl(store, cfg).head

    return make


def _width(store: "PairedActivations") -> int:
    # One pair tells the width: all rows at once may not fit into memory.
    first = next(iter(store.iter_pairs(1)), None)
    if first is None:
        raise UserError("The store holds no image–caption pairs, so there is nothing to compare.")
    return first[0].shape[1]


SAE_ARCHITECTURES = (
    *("topk", "batchtopk", "jumprelu", "standard", "gated"),
    *("matryoshka_batchtopk", "matching_pursuit"),
)
"""SAELens' training architectures whose codes are non-negative: all but `abstopk`."""

COMPARATORS: dict[str, Comparator] = {
    "raw": Comparator("the model's own dimensions, positive and negative halves", _raw),
    "pca": Comparator("all principal components, positive and negative halves", _pca),
    "pca_k": Comparator("as many principal components as the SAE has active latents", _pca_k),
    "nmf": Comparator("non-negative factors of positive and negative halves", _nmf),
    "ncl_shared": Comparator("non-negative contrastive head, one for both towers", _ncl(True)),
    "ncl_separate": Comparator("non-negative contrastive head, one for each tower", _ncl(False)),
    "matched_saes": Comparator("an SAE for each tower, matched by co-activation", _separate),
    **{
        f"sae_{name}": Comparator(f"a shared SAE of SAELens' architecture {name}", sae_of(name))
        for name in SAE_ARCHITECTURES
    },
    "sae_aligned_topk": Comparator(
        "a shared SAE whose pairs' codes are aligned", sae_of("aligned_topk")
    ),
    "sae_group_topk": Comparator("a shared SAE, sparse in pairs and masked", sae_of("group_topk")),
}
"""Every comparator by name."""

FULL = ("sae", *COMPARATORS)
"""All there is, the study's own SAE first."""
