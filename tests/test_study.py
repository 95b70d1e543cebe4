"""`Study`: what belongs together is found and checked; what does not is refused, naming both."""

import shutil

import pytest
import torch

from mm_sae_plugin import (
    MultimodalSAERunnerConfig,
    MultimodalSAETrainingRunner,
    Study,
    UserError,
    extract,
    load_model,
    load_pairs,
)
from mm_sae_plugin.stats import ModalityConfig


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A labelled SAE trained behind normalisation, its store, and another store."""
    folder = tmp_path_factory.mktemp("study")
    store = extract(model, load_pairs("factorworld:400"), folder / "acts", progress=False)
    extract(model, load_pairs("factorworld:400:7"), folder / "other", progress=False)
    cfg = MultimodalSAERunnerConfig(
        out=folder / "sae", d_sae=64, k=8, training_steps=200, normalize="per_modality_center_scale"
    )
    MultimodalSAETrainingRunner(cfg, store).run()
    Study.open(folder / "sae", store).label(ModalityConfig(score="frequency"))
    return folder


def test_labels_and_findings_agree_when_the_study_is_opened_again(folder):
    study = Study.open(folder / "sae", folder / "acts")
    assert study.labels.cfg.score == "frequency"
    assert study.labels.store_key == study.store.manifest.key
    findings = study.inspect()
    assert findings.dominance is study.labels
    assert findings.truth is not None
    assert max(findings.evaluation.explained_variance.values()) <= 1
    # The labels describe the codes that the study gives: those of raw activations, normalised.
    codes = study.feature_map.encode(study.store.image_rows(), "image")
    fires = (codes > 0).sum(0).double()
    assert torch.equal(study.labels.statistics.channel("fires_image"), fires)


def test_pictures_and_captions_are_encoded_as_the_store_was(folder, model):
    study = Study.open(folder / "sae", folder / "acts", model)
    picture, caption = study.store.open_image(3), study.store.captions[3]
    assert picture is not None
    of_image, of_text = study.codes(images=[picture], texts=[caption])
    assert of_image is not None and of_text is not None
    stored_image = study.feature_map.encode(study.store.image_rows()[3:4], "image")
    stored_text = study.feature_map.encode(study.store.text_rows()[3:4], "text")
    torch.testing.assert_close(of_image, stored_image, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(of_text, stored_text, atol=1e-3, rtol=1e-3)
    latents = study.latents_of(text=caption, top=3)
    assert [x.activation for x in latents] == sorted((x.activation for x in latents), reverse=True)
    assert latents[0].latent == int(of_text.argmax())
    assert latents[0].modality_class == study.labels.classes[latents[0].latent]


def test_the_encoder_is_found_by_its_name(folder):
    study = Study.open(folder / "sae")
    assert study.model.cfg.model_name == "factorworld"


def test_labels_of_another_store_are_refused(folder):
    study = Study.open(folder / "sae", folder / "other")
    with pytest.raises(UserError, match=r"were computed on the store .* but .*other is the store"):
        study.inspect()


def test_an_encoder_that_was_not_trained_on_is_refused(folder):
    with pytest.raises(UserError, match=r"factorworld \(sha256:.*factorworld-declip \(sha256:"):
        Study.open(folder / "sae", model=load_model("factorworld-declip"))


def test_labels_of_another_sae_are_refused(folder, tmp_path):
    shutil.copytree(folder / "sae", tmp_path / "sae")
    cfg = MultimodalSAERunnerConfig(out=tmp_path / "small", d_sae=32, k=4, training_steps=20)
    from mm_sae_plugin import ActivationStore

    MultimodalSAETrainingRunner(cfg, ActivationStore.open(folder / "acts")).run()
    Study.open(tmp_path / "small", folder / "acts").label()
    shutil.copy(tmp_path / "small/modality.safetensors", tmp_path / "sae")
    with pytest.raises(UserError, match=r"modality\.safetensors is not as it was written"):
        _ = Study.open(tmp_path / "sae", folder / "acts").labels
    # As a folder of an earlier version, whose labels have no checksums.
    (tmp_path / "sae/checksums.json").unlink()
    with pytest.raises(UserError, match="are of 32 latents and its SAE has 64"):
        _ = Study.open(tmp_path / "sae", folder / "acts").labels


def test_questions_without_an_answer_get_a_sentence(folder):
    study = Study.open(folder / "sae", folder / "acts")
    with pytest.raises(UserError, match="Nothing to encode"):
        study.codes()
    with pytest.raises(UserError, match="Give one picture"):
        study.latents_of()


def test_the_store_is_found_where_it_lies_after_both_were_moved(folder, tmp_path):
    assert Study.open(folder / "sae").store.path.resolve() == (folder / "acts").resolve()
    shutil.copytree(folder, tmp_path / "moved")
    moved = Study.open(tmp_path / "moved/sae")
    assert moved.store.path.resolve() == (tmp_path / "moved/acts").resolve()
    assert moved.labels.store_key == moved.store.manifest.key
    shutil.rmtree(tmp_path / "moved/acts")
    with pytest.raises(UserError, match=r"store of .*moved/sae was not found"):
        _ = Study.open(tmp_path / "moved/sae").store


def test_pictures_may_be_given_by_their_paths(folder, model, tmp_path):
    study = Study.open(folder / "sae", folder / "acts", model)
    picture = study.store.open_image(3)
    assert picture is not None
    picture.save(tmp_path / "p.png")
    of_paths, _ = study.codes(images=[tmp_path / "p.png", str(tmp_path / "p.png")])
    expected, _ = study.codes(images=[picture, picture])
    assert of_paths is not None and expected is not None
    assert torch.equal(of_paths, expected)
    assert study.latents_of(image=str(tmp_path / "p.png")) == study.latents_of(image=picture)
    # One caption is not as many as it has letters.
    _, of_text = study.codes(texts="red")
    assert of_text is not None and of_text.shape == (1, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(images=["none.png"]), r"none\.png cannot be used: no such file"),
        (dict(images="p.png"), r"several pictures, not a str: give one as images=\[…\]"),
        (dict(images=torch.zeros(1, 3, 48, 48)), "list of PIL images or of paths, not a Tensor"),
        (dict(images=3), "list of PIL images or of paths, not an int"),
        (dict(images=[3]), "a PIL image or a path, not an int"),
        (dict(texts=3), "list of captions, not an int"),
        (dict(texts=["a", None]), "must hold strings, not None"),
    ],
    ids=str,
)
def test_what_is_no_picture_and_no_caption_is_refused(folder, model, any_types, arguments, message):
    with pytest.raises(UserError, match=message):
        Study.open(folder / "sae", folder / "acts", model).codes(**arguments)


@pytest.mark.parametrize("top", [-1, 0, 2.5, None, True])
def test_a_number_of_latents_that_is_none_is_refused(folder, model, any_types, top):
    with pytest.raises(UserError, match="top must be a whole number, at least 1, not"):
        Study.open(folder / "sae", folder / "acts", model).latents_of(text="red", top=top)


def test_parts_of_another_kind_are_refused(folder, any_types):
    for arguments, message in (
        (dict(store=5), "an ActivationStore or its folder, not an int"),
        (dict(sae_dir=None), "the folder of an SAE, not None"),
        (dict(model="factorworld"), r"not a str: give load_model\('factorworld'\)"),
        (dict(model=5), "must be a HookedCLIP, not an int"),
    ):
        with pytest.raises(UserError, match=message):
            Study.open(**{"sae_dir": folder / "sae", **arguments})


def test_labels_of_another_store_are_refused_when_they_are_read(folder):
    # Not sooner: the same study is what labels the SAE anew on that store.
    with pytest.raises(UserError, match=r"were computed on the store .* but .*other is the store"):
        _ = Study.open(folder / "sae", folder / "other").labels


def test_an_sae_that_names_no_text_hook_encodes_no_captions(folder, model, tmp_path):
    shutil.copytree(folder / "sae", tmp_path / "sae")
    study = Study.open(tmp_path / "sae", folder / "acts", model)
    study.sae.cfg.metadata.hook_name_text = None
    with pytest.raises(UserError, match="trained on images alone: leave texts out"):
        study.codes(texts=["red"])
    study.sae.cfg.metadata.hook_name_image = study.sae.cfg.metadata.hook_name = None
    with pytest.raises(UserError, match="does not say which hook its SAE was trained at"):
        study.codes(texts=["red"])
