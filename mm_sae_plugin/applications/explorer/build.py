"""Making the cache: one pass over the store, then names."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.explorer.cache import Cache, cache_key
from mm_sae_plugin.applications.explorer.known import name_accuracy
from mm_sae_plugin.applications.explorer.naming import (
    LooksLike,
    looks_like,
    named_by_embedding,
    raised_by,
)
from mm_sae_plugin.applications.explorer.phrase_sums import PhraseSums
from mm_sae_plugin.applications.explorer.sums import ExampleSums, bin_widths
from mm_sae_plugin.applications.explorer.vocabulary import Vocabulary
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FACTORS
from mm_sae_plugin.models.hook_names import JOINT_SITES
from mm_sae_plugin.stats.interfaces import Accumulator, PairedActivations
from mm_sae_plugin.stats.labelling import is_truth_known, refuse_one_tower
from mm_sae_plugin.stats.passes import Reading, run_pass
from mm_sae_plugin.stats.truth import LatentTruth, TruthSums, check_sums
from mm_sae_plugin.study import Study

# Places of the tables of sums by phrase and latent, each of four bytes; and phrases at most.
_TABLE, _MOST = 2**25, 4096
_BATCH = 256


@dataclass(frozen=True)
class _Sides:
    """What the labels know of each latent's codes."""

    on_image: Bool[Tensor, "n_features"]
    """Whether the mean code is larger on images."""
    typical: Float[Tensor, "n_features"]
    """Mean of the own side's codes, weighted by themselves; NaN where it never fires."""
    largest: Float[Tensor, "n_features"]
    """The larger one of both sides."""

    @classmethod
    def of(cls, study: Study) -> "_Sides":
        stats = study.labels.statistics
        image, text = stats.sides("ratio_of_means")
        of_image = stats.channel("image_squared") / image
        of_text = stats.channel("text_squared") / text
        on_image = image >= text
        largest = torch.maximum(of_image.nan_to_num(0), of_text.nan_to_num(0))
        return cls(on_image, torch.where(on_image, of_image, of_text), largest)


def build(study: Study, progress: bool = False) -> Cache:
    """Read a study's store once and keep all that the explorer shows of it.

    Parameters
    ----------
    study : Study
        Labelled.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        If the store is gone or holds one modality alone, or the SAE was never labelled.
    """
    refuse_one_tower(study.store)
    store = cast(PairedActivations, study.store)
    n_features = study.feature_map.n_features
    most = min(max(_TABLE // n_features, 256), _MOST)
    sides, vocabulary = _Sides.of(study), Vocabulary.of(store.captions, most)
    accumulators: dict[str, Accumulator] = {
        "examples": ExampleSums.of(store, bin_widths(sides.largest)),
        "phrases": PhraseSums(vocabulary, sides.on_image),
    }
    known = is_truth_known(store, study.store.manifest.source)
    if known:
        accumulators["truth"] = TruthSums.of(store, FACTORS, n_features)
    reading = Reading(study.feature_map, accumulators)
    (taken,) = run_pass(store, [reading], progress=progress)

    tensors = taken["examples"].state_dict()
    raised = raised_by(cast(PhraseSums, taken["phrases"]), sides.typical)
    looks = _looks(study, vocabulary, tensors)
    image_dominant = study.labels.are("ImgD")
    by_embedding = named_by_embedding(raised, looks, image_dominant)
    tensors |= {
        "name.raised_by": raised.phrase,
        "name.raise": raised.by,
        "name.raise_low": raised.at_least,
        "name.looks_like": looks.phrase,
        "name.cosine": looks.cosine,
        "name.by_embedding": by_embedding,
        "first_pair": _first_pairs(store),
    }
    record: dict[str, Any] = {"phrases": list(vocabulary.phrases)}
    if known:
        latents = check_sums(cast(TruthSums, taken["truth"]), study.labels, FACTORS).latents
        accuracy = name_accuracy(latents, store, vocabulary, raised, looks, by_embedding)
        record["name_accuracy"] = asdict(accuracy)
        record["factors"] = _factors(latents)
    return Cache(cache_key(study), tensors, record)


def _looks(study: Study, vocabulary: Vocabulary, tensors: dict[str, Tensor]) -> LooksLike:
    """Names by embedding; none where pictures and captions are in two spaces."""
    manifest = study.store.manifest
    n_features = study.feature_map.n_features
    nothing = LooksLike(
        torch.full((n_features,), -1, dtype=torch.int64), torch.full((n_features,), torch.nan)
    )
    sites = [(hook or "").rpartition(".")[2] for hook in (manifest.image_hook, manifest.text_hook)]
    if not vocabulary.phrases or any(site not in JOINT_SITES for site in sites):
        return nothing
    try:
        phrases = _embedded(study, vocabulary.phrases)
    except UserError as error:
        warnings.warn(f"No latent is named by its images: {error}", stacklevel=2)
        return nothing
    rows, values = tensors["image_top.rows"].long(), tensors["image_top.values"]
    acts, mean = study.store.image_rows(), study.store.means["image"].float()
    images = torch.full((n_features, acts.shape[1]), torch.nan)
    for latents in (values[:, 0] > 0).nonzero()[:, 0].split(_BATCH):
        fires = (values[latents] > 0).float()
        total = torch.einsum("lt,ltd->ld", fires, acts[rows[latents]])
        images[latents] = total / fires.sum(1, keepdim=True) - mean
    return looks_like(images, phrases, vocabulary.phrases)


def _embedded(study: Study, phrases: Sequence[str]) -> Float[Tensor, "n_phrases d"]:
    parts = []
    for start in range(0, len(phrases), _BATCH):
        _, acts = study.acts(texts=list(phrases[start : start + _BATCH]))
        assert acts is not None
        parts.append(acts.float().cpu())
    return torch.cat(parts)


def _first_pairs(store: PairedActivations) -> Tensor:
    """For each distinct image, the first pair that it stands in."""
    index = store.image_index
    first = torch.full((len(store.image_ids),), len(index), dtype=torch.int64)
    return first.scatter_reduce(0, index, torch.arange(len(index)), "amin").to(torch.int32)


def _factors(latents: list[LatentTruth]) -> dict[str, Any]:
    """Nearest factor of each alive latent, column by column."""
    return {
        "latent": [entry.latent for entry in latents],
        "factor": [f"{entry.factor} = {entry.value or '(absent)'}" for entry in latents],
        "eta2": [round(entry.eta2, 6) for entry in latents],
    }
