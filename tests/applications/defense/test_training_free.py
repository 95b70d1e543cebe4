"""Defenses that train nothing: what each leaves as it is, what it takes, and its gradients."""

import pytest
import torch
from sklearn.decomposition import PCA
from torch.nn.functional import normalize

from mm_sae_plugin.applications.defense.training_free import (
    check_joint_space,
    mean_l0,
    mean_shift,
    only_latents,
    principal_components,
    reconstruction,
    strongest_latents,
    training_free_arms,
    without_latents,
)
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model
from mm_sae_plugin.study import Study


@pytest.fixture(scope="module")
def study(small_sae):
    return Study.open(small_sae)


@pytest.fixture(scope="module")
def rows(study):
    return study.store.image_rows()[:32]


@pytest.fixture(scope="module")
def arms(study):
    return training_free_arms(study)


def latents(study, *chosen):
    mask = torch.zeros(study.feature_map.n_features, dtype=torch.bool)
    mask[list(chosen)] = True
    return mask


def firing(study, rows):
    """The latent that fires most on some rows."""
    return int(study.feature_map.encode(rows, "image").sum(0).argmax())


def test_arms_are_named_by_what_they_do(study, arms):
    assert [name for name in arms if name[0] not in "wo"] == [
        "reconstruction",
        "strongest 1",
        "strongest 2",
        "strongest 4",
        "strongest 8",
        "mean shift 0.5",
        "mean shift 1",
        "PCA 8",
    ]
    named = {name.split(maxsplit=1)[1] for name in arms if name.startswith("without")}
    assert named == {name.split(maxsplit=1)[1] for name in arms if name.startswith("only")}
    for suffix, labels in (("", study.labels), (" (paper)", study.labels.by_paper_score)):
        for name in ("ImgD", "TextD", "CrossD"):
            assert (f"{name}{suffix}" in named) == (name in labels.classes)
    assert len(named) >= 3


def test_attacks_go_through_every_defense(study, arms):
    model = load_model("factorworld")
    classes = normalize(study.store.text_rows()[:5], dim=1)
    pixels = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    bare = Victim(model, classes)(pixels)
    for name, change in arms.items():
        moved = pixels.clone().requires_grad_()
        logits = Victim(model, classes, change)(moved)
        assert not logits.allclose(bare, atol=1e-3), name
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), moved)
        reached = gradient.flatten(1).norm(dim=1) > 0
        # Where none of the latents that are kept fires, nothing of the image is left.
        assert gradient.isfinite().all(), name
        assert reached.any() if name.startswith("only") else reached.all(), name


def test_gradients_are_those_of_differences(study, arms, rows):
    """A defense that cuts some of its gradient would send attacks astray."""
    chance = torch.Generator().manual_seed(0)
    aim, towards = (torch.randn(rows.shape, generator=chance) for _ in range(2))
    step = 1e-3
    for name, change in arms.items():
        moved = rows.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((change(moved) * aim).sum(), moved)
        with torch.no_grad():
            apart = (change(rows + step * towards) - change(rows - step * towards)) * aim
        found, true = (gradient * towards).sum(1), apart.sum(1) / (2 * step)
        moves = true != 0
        # On most: where a latent begins to fire within the step there is no gradient.
        error = (found - true)[moves].abs().median()
        assert error < 0.02 * true[moves].abs().median(), name


def test_removing_nothing_changes_no_bit(study, rows):
    assert without_latents(study, latents(study))(rows).equal(rows)


def test_removing_latents_takes_what_they_add_and_nothing_else(study, rows):
    feature_map, one = study.feature_map, firing(study, rows)
    codes = feature_map.encode(rows, "image")
    added = codes[:, one, None] * feature_map.directions[one]
    removed = without_latents(study, latents(study, one))(rows)
    torch.testing.assert_close(removed, rows - added, atol=1e-5, rtol=0)
    silent = codes[:, one] == 0
    assert removed[silent].equal(rows[silent]) and not removed[~silent].allclose(rows[~silent])


def test_what_is_left_of_reconstructions(study, rows):
    feature_map, n = study.feature_map, study.feature_map.n_features
    whole = reconstruction(feature_map)(rows)
    codes = feature_map.encode(rows, "image")
    torch.testing.assert_close(whole, feature_map.decode(codes, "image"))
    assert strongest_latents(feature_map, n)(rows).equal(whole)
    assert only_latents(feature_map, latents(study, *range(n)))(rows).equal(whole)
    one = codes.argmax(1)
    kept = feature_map.decode(codes * torch.eye(n)[one], "image")
    torch.testing.assert_close(strongest_latents(feature_map, 1)(rows), kept)
    # The fewer latents, the less is left.
    missed = [
        float((strongest_latents(feature_map, k)(rows) - rows).square().sum()) for k in (1, 2, 4, 8)
    ]
    assert missed == sorted(missed, reverse=True) and missed[0] > 1.5 * missed[-1]


def test_a_class_kept_alone_hides_all_else(study, rows):
    feature_map, one = study.feature_map, firing(study, rows)
    zero = feature_map.decode(torch.zeros(1, feature_map.n_features), "image")
    along = only_latents(feature_map, latents(study, one))(rows) - zero
    code = feature_map.encode(rows, "image")[:, one, None]
    torch.testing.assert_close(along, code * feature_map.directions[one], atol=1e-5, rtol=0)


def test_the_mean_moves_by_the_share_that_is_said(study, arms):
    rows, means = study.store.image_rows(), study.store.means
    for share in (0.5, 1.0):
        moved = arms[f"mean shift {share:g}"](rows).double().mean(0)
        wanted = means["image"] + share * (means["text"] - means["image"])
        torch.testing.assert_close(moved, wanted, atol=1e-6, rtol=0)
    assert mean_shift(means["image"], means["text"], 0.0)(rows).equal(rows)


def test_principal_components_are_those_of_scikit_learn(rows):
    chance = torch.Generator().manual_seed(0)
    spread = torch.linspace(0.2, 2, rows.shape[1])
    clean = 3 + spread * torch.randn(400, rows.shape[1], generator=chance)
    for rank in (1, 8):
        fitted = PCA(rank, svd_solver="full").fit(clean.double().numpy())
        wanted = fitted.inverse_transform(fitted.transform(rows.double().numpy()))
        found = principal_components(clean, rank)(rows)
        torch.testing.assert_close(found.double(), torch.from_numpy(wanted), atol=1e-4, rtol=0)
    whole = principal_components(clean, rows.shape[1])(rows)
    torch.testing.assert_close(whole, rows, atol=1e-5, rtol=0)


def test_as_many_components_as_latents_fire(study, rows):
    assert mean_l0(study.feature_map, rows) == 8


def test_counts_that_are_none_are_refused(study, rows):
    n = study.feature_map.n_features
    for k in (0, n + 1):
        with pytest.raises(UserError, match=f"strongest latents must be from 1 to {n}, not {k}"):
            strongest_latents(study.feature_map, k)
    with pytest.raises(UserError, match="rank of the principal components must be from 1 to 32"):
        principal_components(rows, 33)


def test_an_sae_of_another_site_or_encoder_is_refused(study, monkeypatch):
    model = load_model("factorworld")
    check_joint_space(study, model)
    own = study.sae.cfg.metadata.weights_id
    monkeypatch.setattr(study.sae.cfg.metadata, "weights_id", "sha256:0123456789abcdef")
    with pytest.raises(UserError, match=f"trained on factorworld .*0123456789abcdef.*{own}"):
        training_free_arms(study, model)
    for site, told in (("vision.hook_pooled", "vision.hook_pooled"), (None, "no hook that it")):
        sites = {"image": site, "text": site}
        monkeypatch.setattr(type(study), "hook_names", property(lambda self, s=sites: s))
        with pytest.raises(UserError, match=f"is of {told}.*: train one at hook_normalized"):
            training_free_arms(study)
