"""An SAE goes to the hub and comes back, for plain SAELens and for this package."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from sae_lens import SAE

from mm_sae_plugin import Study
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import ModalityNormalization, download_sae, load_sae, push_sae
from mm_sae_plugin.saes.folder_files import LABEL_RECORD, written
from mm_sae_plugin.saes.hub import stage_sae
from tests.saes.fake_hub import install
from tests.saes.tiny import tiny_sae

REPO = "ada/clip-sae"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    return install(monkeypatch, tmp_path / "hub")


@pytest.fixture
def tiny(tmp_path):
    tiny_sae().save_model(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_both_libraries_open_what_was_pushed(hub, small_sae):
    assert push_sae(small_sae, REPO) == "sae"
    original = Study.open(small_sae)
    acts = original.store.image_rows()[:10]
    codes = original.sae.encode(acts)
    pretrained = SAE.from_pretrained(REPO, "sae")
    assert torch.equal(pretrained.encode(acts), codes)
    assert torch.equal(SAE.load_from_disk(hub.folder(REPO) / "sae").encode(acts), codes)
    study = Study.open(download_sae(REPO))
    assert torch.equal(study.feature_map.encode(acts, "image"), codes)
    assert study.labels.classes == original.labels.classes
    assert study.sae_id == original.sae_id
    # The store stays at home, but is still known by its key.
    with pytest.raises(UserError, match="its folder does not say where"):
        _ = study.store
    assert Study.open(study.path, original.store).labels.classes == original.labels.classes


def test_it_holds_card_sae_and_sidecars_and_nothing_else(hub, small_sae, tmp_path):
    shutil.copytree(small_sae, tmp_path / "sae")
    # Holds captions.
    (tmp_path / "sae/explorer.safetensors").write_bytes(b"")
    push_sae(tmp_path / "sae", REPO)
    assert hub.files(REPO) == [
        "README.md",
        *(
            f"sae/{name}"
            for name in (
                "README.md",
                "cfg.json",
                "checksums.json",
                "evaluation.json",
                "modality.parquet",
                "modality.safetensors",
                "runner_cfg.json",
                "sae_weights.safetensors",
                "sparsity.safetensors",
            )
        ),
    ]
    card = (hub.folder(REPO) / "README.md").read_text()
    assert card == (hub.folder(REPO) / "sae/README.md").read_text()
    assert 'SAE.from_pretrained("ada/clip-sae", "sae")' in card


def test_no_place_of_this_computer_goes_along(hub, small_sae, tmp_path):
    folder = tmp_path / "sae"
    shutil.copytree(small_sae, folder)
    cfg = json.loads((folder / "cfg.json").read_text())
    cfg["metadata"] |= {
        "dataset_path": "/home/ada/secret/captions.csv",
        "model_name": "hf:/home/ada/models/clip",
        "store_path": "../../home/ada/acts",
    }
    with written(folder, "cfg.json", LABEL_RECORD):
        (folder / "cfg.json").write_text(json.dumps(cfg))
    push_sae(folder, REPO)
    for path in hub.folder(REPO).rglob("*.*"):
        content = path.read_bytes()
        for place in (b"/home/ada", b"secret", b"../acts", str(tmp_path).encode()):
            assert place not in content, (path, place)
    metadata = load_sae(hub.folder(REPO) / "sae")[0].cfg.metadata
    assert metadata.dataset_path == "captions.csv" and metadata.model_name == "hf:clip"
    assert metadata.store_path is None
    assert metadata.store_key == Study.open(small_sae).store.manifest.key
    # And the original is as it was.
    assert json.loads((folder / "cfg.json").read_text()) == cfg


def test_a_normalisation_goes_along(hub, tmp_path):
    folder = tmp_path / "centred"
    tiny_sae(normalization="per_modality_center").save_model(folder)
    acts = torch.randn(30, 8)
    normalization = ModalityNormalization.measure("per_modality_center", acts, acts + 1)
    normalization.save(folder)
    push_sae(folder, REPO, "centred")
    loaded = load_sae(download_sae(REPO, "centred"))[1]
    assert torch.equal(loaded.mean, normalization.mean)
    assert "SAELens alone does not apply it" in (hub.folder(REPO) / "README.md").read_text()


def test_pushing_again_leaves_nothing_of_the_other_sae(hub, small_sae, tiny):
    push_sae(small_sae, REPO)
    (hub.folder(REPO) / "sae/notes.txt").write_text("mine")
    push_sae(tiny, REPO, "sae")
    names = [name for name in hub.files(REPO) if name.startswith("sae/")]
    assert names == [
        *("sae/README.md", "sae/cfg.json", "sae/checksums.json", "sae/notes.txt"),
        "sae/sae_weights.safetensors",
    ]
    assert load_sae(download_sae(REPO))[0].cfg.d_sae == 16
    assert "16 |" in (hub.folder(REPO) / "README.md").read_text()


def test_a_repository_of_several_saes_keeps_its_card(hub, tiny):
    push_sae(tiny, REPO, "layer_1")
    card = hub.folder(REPO) / "README.md"
    card.write_text("Mine.")
    push_sae(tiny, REPO, "layer_1", keep_card=True)
    assert card.read_text() == "Mine."
    push_sae(tiny, REPO, "layer_2/resid")
    assert card.read_text() == "Mine."
    assert '"layer_2/resid"' in (hub.folder(REPO) / "layer_2/resid/README.md").read_text()
    assert SAE.from_pretrained(REPO, "layer_2/resid").cfg.d_sae == 16


def test_a_repository_is_public_unless_asked_otherwise(hub, tiny):
    push_sae(tiny, "ada/open")
    push_sae(tiny, "ada/closed", private=True)
    push_sae(tiny, "ada/closed")
    assert hub.is_private == {"ada/open": False, "ada/closed": True}
    files = hub.files("ada/open")
    with pytest.raises(UserError, match="is there already and public"):
        push_sae(tiny, "ada/open", "secret", private=True)
    assert hub.files("ada/open") == files


@pytest.mark.parametrize(
    ("repo", "why"),
    [
        ("clip-sae", "it is not owner/name"),
        ("ada/clip/sae", "it is not owner/name"),
        ("ada/clip--sae", "Cannot have -- or .."),
        ("ada/", "names no repository"),
        ("ada/a b", "names no repository"),
    ],
)
def test_a_name_that_is_none_is_refused(hub, tiny, repo, why):
    with pytest.raises(UserError, match=why) as told:
        push_sae(tiny, repo)
    assert "such as 'ada/clip-sae'" in str(told.value) and "\n" not in str(told.value)
    assert not hub.is_private


def test_a_folder_that_cannot_be_pushed_is_refused(hub, tiny, small_sae, tmp_path):
    with pytest.raises(UserError, match="is not an SAE folder"):
        push_sae(tmp_path, REPO)
    for sae_id in ("../up", "a b", "", "/a", "a//b", "a/..b"):
        with pytest.raises(UserError, match="cannot be the id of an SAE"):
            push_sae(tiny, REPO, sae_id)
    weights = tiny / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be read"):
        push_sae(tiny, REPO)
    shutil.copytree(small_sae, tmp_path / "labelled")
    table = tmp_path / "labelled/modality.parquet"
    table.write_bytes(table.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"modality\.parquet is not as it was .* `mm-sae mds`"):
        push_sae(tmp_path / "labelled", REPO)
    assert not hub.is_private


def test_a_checkpoint_is_refused(hub, tmp_path):
    from sae_lens import TrainingSAE

    from mm_sae_plugin.saes import training_sae_config

    cfg = training_sae_config("topk", 8, 16, 3)
    TrainingSAE.from_dict(cfg.to_dict()).save_model(tmp_path / "100")
    with pytest.raises(UserError, match="is a checkpoint of a training"):
        push_sae(tmp_path / "100", REPO)


def test_without_a_token_nothing_is_asked(monkeypatch, tmp_path, tiny):
    hub = install(monkeypatch, tmp_path / "hub", token=None)
    with pytest.raises(UserError, match="no token for the hub: log in with `hf auth login`"):
        push_sae(tiny, REPO)
    assert not hub.is_private


def _answer(kind, status, text="no"):
    return kind(text, response=SimpleNamespace(status_code=status, headers={}, request=None))


ERRORS = {
    "forbidden": (_answer(HfHubHTTPError, 403), r"does not let you .* ada/clip-sae \(403\)"),
    "server": (_answer(HfHubHTTPError, 500, "broken\nstack"), r"The hub refused \(broken\)"),
    "unknown": (_answer(RepositoryNotFoundError, 404), "knows no repository ada/clip-sae"),
    "offline": (OfflineModeIsEnabled("off"), "HF_HUB_OFFLINE is set"),
    "not there": (LocalEntryNotFoundError("none"), "is not there from before"),
    "no network": (TimeoutError("no route"), r"cannot be reached \(no route\)"),
    # The client's network library has errors of its own.
    "no answer": (HfHubHTTPError.__bases__[0]("late"), r"cannot be reached \(late\)"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_of_the_hub_are_one_sentence(hub, tiny, case):
    hub.error, named = ERRORS[case]
    for ask in (lambda: push_sae(tiny, REPO), lambda: download_sae(REPO)):
        with pytest.raises(UserError, match=named) as told:
            ask()
        assert "\n" not in str(told.value)


def test_an_sae_that_is_not_there_is_named(hub, tiny):
    push_sae(tiny, REPO)
    with pytest.raises(UserError, match="holds no SAE 'layer_3'"):
        download_sae(REPO, "layer_3")


def test_staging_writes_into_an_empty_folder_only(tiny, tmp_path):
    assert stage_sae(tiny, REPO, tmp_path / "staged") == "tiny"
    assert SAE.load_from_disk(tmp_path / "staged/tiny").cfg.d_sae == 16
    with pytest.raises(UserError, match="staged is not empty"):
        stage_sae(tiny, REPO, tmp_path / "staged")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, not a folder"):
        stage_sae(tiny, REPO, tmp_path / "file")
