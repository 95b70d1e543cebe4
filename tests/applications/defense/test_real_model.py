"""An open_clip ViT-B-32 with random weights: gradients, parts of a batch, a run broken off.

In every run a small one of the same classes stands in for it.
"""

import copy
import json
import warnings
from dataclasses import replace

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from mm_sae_plugin.applications.defense.alignment import CHECKPOINT, align
from mm_sae_plugin.applications.defense.alignment_config import AlignmentConfig
from mm_sae_plugin.applications.defense.arms import FARE, READINGS, TECOA
from mm_sae_plugin.applications.defense.distances import embedding_distance
from mm_sae_plugin.applications.defense.fine_tuning import FineTuning, folder_of
from mm_sae_plugin.applications.defense.own_task import read_task
from mm_sae_plugin.applications.defense.towers import WEIGHTS, ImageTower, read_tower
from mm_sae_plugin.applications.defense.training_set import TrainingSet
from mm_sae_plugin.applications.defense.victim import PixelScale, Victim
from mm_sae_plugin.cli import main
from mm_sae_plugin.models import load_model
from tests.applications.bias.faces import draw_faces, write_table

CFG = AlignmentConfig(
    n_steps=2,
    batch_size=4,
    n_accumulated=2,
    inner_steps=1,
    warm_up_steps=0,
    n_scale_batches=1,
    checkpoint_every=1,
)


class Stop(Exception):
    """As a run is broken off by whatever it is."""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Weights are the same to the last digit on one thread."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The small one, as open_clip saves a model, and a table of pictures with classes."""
    folder = tmp_path_factory.mktemp("real")
    config = open_clip.get_model_config("ViT-B-32")
    assert config is not None
    config["embed_dim"] = 16
    config["vision_cfg"] |= {"image_size": 64, "layers": 2, "width": 64}
    config["text_cfg"] |= {"layers": 2, "width": 32, "heads": 2}
    torch.manual_seed(0)
    clip = open_clip.CLIP(**config)
    torch.save(clip.state_dict(), folder / "open_clip_pytorch_model.bin")
    mean, std = list(open_clip.OPENAI_DATASET_MEAN), list(open_clip.OPENAI_DATASET_STD)
    about = {"model_cfg": config, "preprocess_cfg": {"mean": mean, "std": std}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    write_table(folder / "jobs.csv", draw_faces(folder, 8))
    return folder


@pytest.fixture(scope="module", params=["small", pytest.param("full", marks=pytest.mark.slow)])
def tuning(request, folder):
    if request.param == "small":
        model = load_model(f"local-dir:{folder}")
    else:
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*was given no weights")
            model = load_model("ViT-B-32")
    return of_table(model, folder)


def of_table(model, folder):
    task = read_task(folder / "jobs.csv", "occupation")
    return FineTuning(model, [task], TrainingSet.of_task(model, task), CFG)


@pytest.fixture(scope="module")
def whole(tuning, tmp_path_factory):
    """An uninterrupted run."""
    return tuning.tower(TECOA, 0, tmp_path_factory.mktemp("whole"))


def test_pictures_are_at_the_size_of_the_model(tuning):
    height, width = tuning.model.cfg.image_size
    assert tuning.training.images.shape == (8, 3, height, width)
    assert tuning.training.labels.tolist() == [[0], [0], [1], [1]] * 2


def test_gradients_reach_the_visual_tower_only(tuning):
    tower = ImageTower(copy.deepcopy(tuning.model))
    inputs, images = PixelScale.of(tuning.model).inputs, tuning.training.images
    before = {name: value.clone() for name, value in tower.model.named_parameters()}
    (loss,) = align(tower, inputs, images, embedding_distance, replace(CFG, n_steps=1))
    assert 0 < loss < float("inf")
    for name, parameter in tower.model.named_parameters():
        if ".visual." in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
            assert not parameter.equal(before[name]), name
        else:
            assert parameter.grad is None and parameter.equal(before[name]), name


def test_a_run_that_was_broken_off_goes_on_as_it_would_have(tuning, whole, tmp_path, monkeypatch):
    taken, real = [], torch.optim.AdamW.step

    def step(self, *given, **named):
        if len(taken) == 1:
            raise Stop
        taken.append(0)
        return real(self, *given, **named)

    path = folder_of(TECOA, 0, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", step)
        with pytest.raises(Stop):
            tuning.tower(TECOA, 0, tmp_path)
    checkpoint = torch.load(path / CHECKPOINT, weights_only=True)
    assert len(checkpoint["losses"]) == 1 and checkpoint["losses"][0] > 0
    n_moving = sum(".visual." in name for name, _ in tuning.model.named_parameters())
    assert len(checkpoint["optimizer"]["state"]) == n_moving
    resumed = tuning.tower(TECOA, 0, tmp_path)
    one, other = (load_file(tower.path / WEIGHTS) for tower in (whole, resumed))
    assert len(one) == n_moving and one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)
    assert resumed.card["losses"] == whole.card["losses"]
    assert not (path / CHECKPOINT).exists()


@torch.no_grad()
def test_a_tower_is_attacked_as_its_encoder_is(tuning, whole):
    model, tuned = tuning.model, read_tower(whole.path).on(tuning.model)
    classes = tuning.tasks[0].classes(model)
    assert tuning.tasks[0].classes(tuned).equal(classes)
    pixels = tuning.training.images.float() / 255
    one, other = (Victim(each, classes)(pixels) for each in (model, tuned))
    assert one.shape == (8, 2) and not one.allclose(other, atol=1e-3)


def test_bf16_computes_nearly_the_same_and_keeps_weights(folder):
    # At full size it takes minutes on a processor without it.
    tuning, found = of_table(load_model(f"local-dir:{folder}"), folder), {}
    for bf16 in (False, True):
        tower = ImageTower(copy.deepcopy(tuning.model))
        inputs, images = PixelScale.of(tuning.model).inputs, tuning.training.images
        cfg = replace(CFG, n_steps=1, bf16=bf16, eps=0.1)
        found[bf16] = align(tower, inputs, images, embedding_distance, cfg)[0]
        assert {each.dtype for each in tower.parameters()} == {torch.float32}
    assert found[True] != found[False] and found[True] == pytest.approx(found[False], rel=0.3)


def test_the_command_takes_a_local_checkpoint_and_a_table(folder, tmp_path, capsys):
    asked = ["--model", f"local-dir:{folder}", "--images", str(folder / "jobs.csv")]
    asked += ["--label-col", "occupation", "--arms", FARE, READINGS, "--seeds", "0"]
    asked += ["--n-steps", "2", "--batch-size", "4", "--n-accumulated", "2", "--inner-steps", "1"]
    main(["align", "--out", str(tmp_path), *asked])
    assert "step 2 loss" in capsys.readouterr().out
    model = load_model(f"local-dir:{folder}")
    for name in (FARE, READINGS):
        tower = read_tower(folder_of(name, 0, tmp_path))
        assert tower.card["alignment"]["n_accumulated"] == 2 and tower.card["tasks"] == ["jobs"]
        assert tower.on(model).weights_id != model.weights_id
