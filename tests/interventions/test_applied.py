"""What an edit does to codes and to vectors, and that the host never waits for it."""

import pytest
import torch

from mm_sae_plugin import Study
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.interventions.choice import typical_codes
from tests.synchronisation import NoSynchronisation


@pytest.fixture(scope="module")
def latents(study):
    """Three latents that fire often on images."""
    fires = study.labels.statistics.channel("fires_image")
    return tuple(sorted(fires.topk(3).indices.tolist()))


@pytest.fixture(scope="module")
def vectors(study):
    return study.store.image_rows()[:32]


def edits(study, latents):
    return {
        "scale": FeatureEdit.scale(study, 2.5, latents=latents),
        "ablate": FeatureEdit.ablate(study, latents=latents),
        "add": FeatureEdit.add(study, 0.5, latents=latents),
        "subtract": FeatureEdit.add(study, -3.0, unit="code", latents=latents),
        "set": FeatureEdit.set(study, 1.0, latents=latents),
        "clamp": FeatureEdit.clamp(study, 0.1, 0.5, latents=latents),
        "replace": FeatureEdit.replace(study, text="two red cars", latents=latents),
        "approach": FeatureEdit.replace(study, text="two red cars", share=-0.4, latents=latents),
    }


def test_codes_are_what_each_operation_says(study, latents, vectors):
    codes = study.feature_map.encode(vectors, "image")
    typical = torch.tensor(typical_codes(study, latents), dtype=codes.dtype)
    _, reference = study.codes(texts="two red cars")
    assert reference is not None
    old, at = codes[:, list(latents)], list(latents)
    expected = {
        "scale": old * 2.5,
        "ablate": old * 0,
        "add": old + 0.5 * typical,
        "subtract": (old - 3).clamp_min(0),
        "set": typical.expand_as(old),
        "clamp": torch.minimum(torch.maximum(old, 0.1 * typical), 0.5 * typical),
        "replace": reference[:, at].expand_as(old),
        "approach": old - 0.4 * (reference[:, at] - old),
    }
    for name, edit in edits(study, latents).items():
        edited = AppliedEdit(study, edit).codes(codes)
        torch.testing.assert_close(edited[:, at], expected[name], msg=name)
        others = torch.ones(codes.shape[1], dtype=torch.bool)
        others[at] = False
        assert torch.equal(edited[:, others], codes[:, others])


def test_what_the_sae_does_not_reconstruct_is_kept(study, latents, vectors):
    edit = FeatureEdit.scale(study, 3.0, latents=latents)
    scaled = vectors * torch.linspace(0.5, 9, len(vectors))[:, None]
    edited, moved = AppliedEdit(study, edit).vectors(scaled, "image")
    length = scaled.norm(dim=-1, keepdim=True)
    codes = study.feature_map.encode(scaled / length, "image")
    change = (codes[:, list(latents)] * 2) @ study.feature_map.directions[list(latents)]
    torch.testing.assert_close(edited, scaled + length * change, atol=1e-5, rtol=1e-4)
    assert moved is not None
    torch.testing.assert_close(moved[:, list(latents)], codes[:, list(latents)] * 2)


def test_where_nothing_changes_no_bit_does(study, latents, vectors):
    empty, moved = AppliedEdit(study, FeatureEdit.none(study)).vectors(vectors, "image")
    assert empty is vectors and moved is None
    same, _ = AppliedEdit(study, FeatureEdit.scale(study, 1.0, latents=latents)).vectors(
        vectors, "image"
    )
    assert torch.equal(same, vectors)
    silent = study.feature_map.encode(vectors, "image")[:, latents[0]] == 0
    ablated, _ = AppliedEdit(study, FeatureEdit.ablate(study, latents=latents[0])).vectors(
        vectors, "image"
    )
    assert torch.equal(ablated[silent], vectors[silent])
    assert not torch.equal(ablated[~silent], vectors[~silent])


@pytest.mark.parametrize("fraction", [None, 0.5])
def test_zero_has_no_direction_to_be_turned(study, latents, vectors, fraction):
    """Guidance says "no condition" by it, and some denoisers tell it from all other vectors."""
    edit = FeatureEdit.set(study, 2.0, latents=latents).with_relative_norm(fraction)
    given = torch.cat([torch.zeros_like(vectors[:1]), vectors[:1]])
    edited, _ = AppliedEdit(study, edit).vectors(given, "image")
    assert torch.equal(edited[0], given[0]) and not torch.allclose(edited[1], given[1])


@pytest.mark.parametrize("fraction", [0.05, 0.4])
def test_a_relative_norm_is_how_far_vectors_move(study, latents, vectors, fraction):
    edit = FeatureEdit.set(study, 2.0, latents=latents).with_relative_norm(fraction)
    scaled = vectors * 7
    edited, _ = AppliedEdit(study, edit).vectors(scaled, "image")
    moved = (edited - scaled).norm(dim=-1) / scaled.norm(dim=-1)
    torch.testing.assert_close(moved, torch.full_like(moved, fraction), atol=1e-4, rtol=1e-3)
    half, _ = AppliedEdit(study, edit).vectors(scaled, "image", strength=0.5)
    moved = (half - scaled).norm(dim=-1) / scaled.norm(dim=-1)
    torch.testing.assert_close(moved, torch.full_like(moved, fraction / 2), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_shape_and_dtype_are_kept(study, latents, vectors, shape, dtype):
    acts = vectors[0].expand(*shape, -1).to(dtype)
    edited, moved = AppliedEdit(study, FeatureEdit.ablate(study, latents=latents)).vectors(
        acts, "image"
    )
    assert (edited.shape, edited.dtype, edited.device) == (acts.shape, dtype, acts.device)
    assert moved is not None and moved.shape == (*shape, study.feature_map.n_features)


def test_gradients_flow_through_an_edit(study, latents, vectors):
    acts = vectors.clone().requires_grad_()
    edited, _ = AppliedEdit(study, FeatureEdit.scale(study, 2.0, latents=latents)).vectors(
        acts, "image"
    )
    edited.square().sum().backward()
    assert acts.grad is not None and acts.grad.abs().sum() > 0


@pytest.mark.parametrize("fraction", [None, 0.2])
def test_the_host_never_waits_inside_an_edit(study, latents, vectors, fraction):
    for name, edit in edits(study, latents).items():
        applied = AppliedEdit(study, edit.with_relative_norm(fraction))
        with NoSynchronisation(), torch.no_grad():
            edited, _ = applied.vectors(vectors, "image", strength=0.7)
        assert edited.shape == vectors.shape, name


@pytest.mark.parametrize("layout", ["strided", "transposed"])
def test_layout_is_kept(study, latents, vectors, layout):
    acts = vectors if layout == "strided" else vectors.T.contiguous().T
    edited, _ = AppliedEdit(study, FeatureEdit.set(study, 1.0, latents=latents)).vectors(
        acts, "image"
    )
    assert edited.stride() == acts.stride()


@pytest.mark.parametrize("field", ["hook_name_image", "hook_name"])
def test_an_sae_of_unnormalised_vectors_encodes_them_as_they_are(
    study, latents, vectors, monkeypatch, field
):
    metadata = study.sae.cfg.metadata
    # SAEs of images alone may name their hook as SAELens does.
    monkeypatch.setattr(metadata, "hook_name_image", None)
    monkeypatch.setattr(metadata, field, "vision.hook_proj")
    edit = FeatureEdit.scale(study, 3.0, latents=latents)
    scaled = vectors * 2
    edited, _ = AppliedEdit(study, edit).vectors(scaled, "image")
    codes = study.feature_map.encode(scaled, "image")[:, list(latents)]
    expected = scaled + codes * 2 @ study.feature_map.directions[list(latents)]
    torch.testing.assert_close(edited, expected, atol=1e-5, rtol=1e-4)


def test_transcoders_and_other_devices_are_refused(study, latents, monkeypatch):
    edit = FeatureEdit.ablate(study, latents=latents)
    with pytest.raises(UserError, match=r"lies on meta and the SAE on cpu: open the study there"):
        AppliedEdit(study, edit, torch.device("meta"))
    monkeypatch.setattr(study.sae.cfg.metadata, "hook_name_out", "vision.hook_pooled")
    with pytest.raises(UserError, match="This is a transcoder from"):
        AppliedEdit(study, edit)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_no_synchronisation_on_a_gpu(study, latents, vectors):
    there = Study.open(study.path, study.store, device="cuda")
    applied = AppliedEdit(there, FeatureEdit.add(there, 0.5, latents=latents))
    acts = vectors.cuda()
    applied.vectors(acts, "image")
    torch.cuda.set_sync_debug_mode("error")
    try:
        applied.vectors(acts, "image")
    finally:
        torch.cuda.set_sync_debug_mode("default")
