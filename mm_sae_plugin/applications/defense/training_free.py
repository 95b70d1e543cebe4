"""Defenses that train nothing: what can be done to a joint vector before it is read.

Each is a change of images' unit-length joint vectors, with gradients, so that an attack can go
through it. Against images made against the bare model they help a little; whether anything is left
against an attack that knows them is what an evaluation is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mm_sae_plugin.applications.defense.arms import CLASSES
from mm_sae_plugin.applications.defense.victim import Change
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.feature_map import Decodable
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.models.hook_names import HOOK_NORMALIZED
from mm_sae_plugin.saes.encoder_check import check_encoder
from mm_sae_plugin.study import Study

RECONSTRUCTION = "reconstruction"
"""Name of the defense that lets what the latents explain take a vector's place."""
N_FITTED = 10_000
"""Images of a store, the first ones, that principal components are fitted on."""


def training_free_arms(
    study: Study,
    model: HookedCLIP | None = None,
    n_strongest: Sequence[int] = (1, 2, 4, 8),
    shares: Sequence[float] = (0.5, 1.0),
    rank: int | None = None,
) -> dict[str, Change]:
    """Return all defenses of this file, by readable names.

    ``without`` and ``only`` are followed by a class of the study's own labels, or of the paper's
    score, ``ImgD (paper)``. A class that has no latents has no arm.

    Parameters
    ----------
    study : Study
        Labelled; its SAE must be of the image tower's ``hook_normalized``.
    model : HookedCLIP, optional
        The encoder that is defended, to be checked against the SAE's.
    n_strongest : sequence of int
        How many latents the reconstruction keeps, one arm each.
    shares : sequence of float
        Shares of the modality gap that vectors are moved by, one arm each.
    rank : int, optional
        Of the principal components; by default the number of latents that fire on an image, so
        that both reconstructions have equally many numbers.

    Raises
    ------
    UserError
        If the SAE is of another encoder or site, or has no labels or store.
    """
    check_joint_space(study, model)
    feature_map = study.feature_map
    rows = next(study.store.iter_image_rows(N_FITTED))
    rank = mean_l0(feature_map, rows) if rank is None else rank
    means = study.store.means
    arms = {RECONSTRUCTION: reconstruction(feature_map)}
    for k in n_strongest:
        arms[f"strongest {k}"] = strongest_latents(feature_map, k)
    for name, mask in _class_masks(study):
        arms[f"without {name}"] = without_latents(study, mask)
        arms[f"only {name}"] = only_latents(feature_map, mask)
    for share in shares:
        arms[f"mean shift {share:g}"] = mean_shift(means["image"], means["text"], share)
    arms[f"PCA {rank}"] = principal_components(rows, rank)
    return arms


def first_arms(study: Study, model: HookedCLIP | None = None) -> dict[str, Change]:
    """Return the few that say most: the reconstruction, and each class of the labels removed.

    See :func:`training_free_arms`.
    """
    check_joint_space(study, model)
    of_labels = {f"without {name}": mask for name, mask in _class_masks(study) if name in CLASSES}
    removed = {name: without_latents(study, mask) for name, mask in of_labels.items()}
    return {RECONSTRUCTION: reconstruction(study.feature_map)} | removed


def check_joint_space(study: Study, model: HookedCLIP | None = None) -> None:
    """Raise ``UserError`` where an SAE is not of the vectors that are defended."""
    name = study.hook_names["image"]
    if not (name or "").endswith(HOOK_NORMALIZED):
        raise UserError(
            f"A defense changes unit-length joint vectors, and the SAE in {study.path} is of "
            f"{name or 'no hook that it names'}: train one at {HOOK_NORMALIZED}."
        )
    if model is not None:
        check_encoder(study.sae, model)


def reconstruction(feature_map: Decodable) -> Change:
    """Return what the latents explain of a vector; what they miss is left out."""

    def change(rows: Tensor) -> Tensor:
        return feature_map.decode(feature_map.encode(rows, "image"), "image").to(rows)

    return change


def strongest_latents(feature_map: Decodable, k: int) -> Change:
    """Return the reconstruction from each image's ``k`` strongest latents alone.

    Raises
    ------
    UserError
        If there are not so many latents, or none is to be kept.
    """
    _check_count("The number of strongest latents", k, feature_map.n_features)

    def change(rows: Tensor) -> Tensor:
        codes = feature_map.encode(rows, "image")
        kept = codes.topk(k, dim=1)
        codes = torch.zeros_like(codes).scatter(1, kept.indices, kept.values)
        return feature_map.decode(codes, "image").to(rows)

    return change


def without_latents(study: Study, mask: Bool[Tensor, "n_features"]) -> Change:
    """Return vectors less what some latents add; the reconstruction error is kept.

    It is the edit that ablates them, ``e' = e + |e| (decode(z') - decode(z))``; no latent at all is
    the identity, to the bit.
    """
    edit = FeatureEdit.ablate(study, mask=mask) if mask.any() else FeatureEdit.none(study)
    applied = AppliedEdit(study, edit)

    def change(rows: Tensor) -> Tensor:
        return applied.vectors(rows, "image")[0]

    return change


def only_latents(feature_map: Decodable, mask: Bool[Tensor, "n_features"]) -> Change:
    """Return the reconstruction from some latents alone.

    Unlike in :func:`without_latents` the reconstruction error goes too, since an attack would else
    pass in it; all latents are the plain reconstruction. An image on which none of them fires has
    no gradient, so that here a white-box attack alone proves little.
    """

    def change(rows: Tensor) -> Tensor:
        codes = feature_map.encode(rows, "image")
        return feature_map.decode(codes * mask.to(codes), "image").to(rows)

    return change


def mean_shift(
    image_mean: Float[Tensor, "d"], text_mean: Float[Tensor, "d"], share: float
) -> Change:
    """Return vectors moved along the modality gap: by 0 not at all, by 1 onto the texts' mean.

    Parameters
    ----------
    image_mean, text_mean : float
        Mean vectors of clean images and of captions.
    share : float
        Of the way between them.
    """
    gap = share * (text_mean - image_mean)

    def change(rows: Tensor) -> Tensor:
        return rows + gap.to(rows)

    return change


def principal_components(clean: Float[Tensor, "n d"], rank: int) -> Change:
    """Return vectors as their first principal components, and the mean, describe them.

    Parameters
    ----------
    clean : float
        Vectors of clean images, that the components are fitted on.
    rank : int
        Number of components.

    Raises
    ------
    UserError
        If there are not so many components, or none is to be kept.
    """
    _check_count("The rank of the principal components", rank, min(clean.shape))
    fitted = clean.double()
    mean = fitted.mean(0)
    centred = fitted - mean
    # In rising order of the variance that they explain.
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -rank:]
    projection = axes @ axes.T

    def change(rows: Tensor) -> Tensor:
        return (rows - mean.to(rows)) @ projection.to(rows) + mean.to(rows)

    return change


@torch.no_grad()
def mean_l0(feature_map: Decodable, rows: Float[Tensor, "n d"]) -> int:
    """Return how many latents fire on an image, rounded, at least 1."""
    fires = [(feature_map.encode(part, "image") > 0).sum(1) for part in rows.split(1024)]
    return max(1, round(float(torch.cat(fires).float().mean())))


def _class_masks(study: Study) -> Iterator[tuple[str, Tensor]]:
    labels = study.labels
    for labelled, suffix in ((labels, ""), (labels.by_paper_score, " (paper)")):
        for name in CLASSES:
            mask = labelled.are(name)
            if mask.any():
                yield f"{name}{suffix}", mask


def _check_count(what: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise UserError(f"{what} must be from 1 to {most:,}, not {count:,}.")
