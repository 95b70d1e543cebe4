"""On a GPU every step gives what it gives on the CPU, but for the order of additions."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mm_sae_plugin import Study
from mm_sae_plugin.activations import ExtractConfig, extract, extract_several
from mm_sae_plugin.applications.causal.config import CausalConfig
from mm_sae_plugin.applications.causal.run import run_causal
from mm_sae_plugin.applications.defense.budget import Budget
from mm_sae_plugin.applications.defense.evaluation import evaluate, standard_attacks
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.applications.steering.painting import Painter
from mm_sae_plugin.interventions import FeatureEdit, edited
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.interventions.removal import Removal
from mm_sae_plugin.models import load_model
from mm_sae_plugin.pairs import load_pairs
from mm_sae_plugin.stats import ModalityConfig
from mm_sae_plugin.training import (
    MultimodalSAERunnerConfig,
    MultimodalSAETrainingRunner,
    NCLConfig,
    train_ncl,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
PAIRS = "factorworld:300"
DEVICES = ("cpu", "cuda")
BLOCKS = [
    ExtractConfig(f"vision.blocks.{i}.hook_resid_post", None, "cls", batch_size=64)
    for i in range(3)
]


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld", device="cuda")


@pytest.fixture(scope="module")
def here(small_sae):
    return Study.open(small_sae)


@pytest.fixture(scope="module")
def there(small_sae, model):
    return Study.open(small_sae, model=model, device="cuda")


def test_extraction(model, tmp_path):
    pairs = load_pairs(PAIRS)
    cpu = extract(load_model("factorworld"), pairs, tmp_path / "cpu", progress=False)
    moved = ExtractConfig(device="cuda")
    gpu = extract(load_model("factorworld"), pairs, tmp_path / "gpu", moved, progress=False)
    again = extract(model, pairs, tmp_path / "again", progress=False)
    for side in ("image_rows", "text_rows"):
        expected, found = getattr(cpu, side)(), getattr(gpu, side)()
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
        assert torch.equal(found, getattr(again, side)())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_several_hooks(model, tmp_path, num_workers):
    pairs = load_pairs(PAIRS)
    cfgs = [replace(cfg, num_workers=num_workers) for cfg in BLOCKS]
    stores = extract_several(
        model, pairs, {tmp_path / str(i): cfg for i, cfg in enumerate(cfgs)}, progress=False
    )
    for i, cfg in enumerate(cfgs):
        alone = extract(model, pairs, tmp_path / f"alone-{i}", cfg, progress=False)
        assert torch.equal(alone.image_rows(), stores[tmp_path / str(i)].image_rows())


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "topk"},
        {"architecture": "batchtopk"},
        {"architecture": "jumprelu"},
        {"architecture": "group_topk"},
        {"architecture": "matryoshka_batchtopk"},
        {"autocast": True},
        {"architecture": "sparse_topk", "dtype": "bfloat16"},
        {"architecture": "sparse_batchtopk"},
        {"normalize": "per_modality_center_scale"},
        {"max_memory_gb": 3e-4},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_training(here, tmp_path, changes):
    changes = dict(changes)

    def trained(device, out, dtype):
        cfg = MultimodalSAERunnerConfig(
            out=out,
            d_sae=64,
            training_steps=200,
            train_batch_size_samples=128,
            device=device,
            dtype=dtype,
            **changes,
        )
        return MultimodalSAETrainingRunner(cfg, here.store).run()

    # Whether a CPU trains in bfloat16 depends on the version of torch.
    dtype = changes.pop("dtype", "float32")
    cpu, gpu = trained("cpu", None, "float32"), trained("cuda", tmp_path / "sae", dtype)
    for modality, expected in cpu.evaluation.explained_variance.items():
        assert gpu.evaluation.explained_variance[modality] == pytest.approx(expected, abs=0.05)
    # What a GPU wrote is read without one.
    assert Study.open(tmp_path / "sae").sae.W_dec.device.type == "cpu"


def test_training_goes_on_from_a_checkpoint(here, tmp_path):
    def run(**more):
        cfg = MultimodalSAERunnerConfig(
            d_sae=64, training_steps=100, train_batch_size_samples=128, device="cuda", **more
        )
        return MultimodalSAETrainingRunner(cfg, here.store).run()

    whole = run(out=tmp_path / "sae", n_checkpoints=2, checkpoint_path=tmp_path / "kept").sae
    shutil.rmtree(tmp_path / "sae")
    resumed = run(out=tmp_path / "sae", resume=True, checkpoint_path=tmp_path / "kept").sae
    torch.testing.assert_close(resumed.W_dec, whole.W_dec)


def test_ncl(here):
    found = [
        train_ncl(here.store, NCLConfig(n_features=32, training_steps=20, device=d))
        for d in DEVICES
    ]
    rows = here.store.image_rows()[:50]
    codes = [ncl.head.encode(rows, "image").cpu() for ncl in found]
    torch.testing.assert_close(*codes, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("rule", ["interval", "paper"])
def test_labels(small_sae, here, tmp_path, rule):
    cfg = ModalityConfig(rule=rule)
    found = []
    for device in ("cpu", "cuda", "cuda"):
        shutil.copytree(small_sae, tmp_path / "sae", dirs_exist_ok=True)
        study = Study.open(tmp_path / "sae", here.store, device=device)
        found.append(study.label(cfg).dominance)
    cpu, gpu, again = found
    torch.testing.assert_close(gpu.scores, cpu.scores, atol=1e-6, rtol=1e-6, equal_nan=True)
    same = [mine == other for mine, other in zip(cpu.classes, gpu.classes, strict=True)]
    assert sum(same) >= len(same) - 1
    # Sums are taken in one order: labels are the same bits whenever they are made.
    assert torch.equal(gpu.scores.nan_to_num(-1), again.scores.nan_to_num(-1))
    assert gpu.classes == again.classes


def test_questions_of_a_study(here, there):
    picture, caption = here.store.open_image(0), here.store.captions[0]
    for asked in ({"image": picture}, {"text": caption}):
        mine, other = here.latents_of(**asked), there.latents_of(**asked)
        assert [one.latent for one in mine] == [one.latent for one in other]
    first, second = (s.compare(picture, caption).similarity for s in (here, there))
    assert first == pytest.approx(second, abs=1e-4)
    assert here.without([1, 2], picture, caption) == pytest.approx(
        there.without([1, 2], picture, caption), abs=1e-4
    )


def test_edits(here, there):
    picture, caption = here.store.open_image(0), here.store.captions[0]
    fired = [one.latent for one in here.latents_of(image=picture, top=3)]
    found = []
    for study in (here, there):
        pixels = study.model.to_pixels([picture])
        edit = FeatureEdit.ablate(study, latents=fired)
        with edited(study, edit) as model, torch.no_grad():
            found.append([side.cpu() for side in model(pixels, [caption])])
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-3)


def test_steering(here, there):
    pytest.importorskip("diffusers")
    fired = [one.latent for one in here.latents_of(text="a red circle", top=3)]
    pictures = []
    for study in (here, there):
        edit = FeatureEdit.add(study, 2.0, latents=fired)
        painted = Painter.open(study).paint("a red circle", 0, edit)
        assert painted.steps
        pictures.append(np.asarray(painted.picture, dtype=float))
    assert np.abs(pictures[0] - pictures[1]).mean() < 4


@pytest.mark.parametrize("budget", [Budget(2 / 255), Budget(0.5, "L2")], ids=lambda b: b.norm)
def test_attacks(budget):
    task = Task.of_world("object", 32)
    attacks = standard_attacks(n_pgd=5, n_apgd=5, n_square=20)
    accuracy = []
    for device in DEVICES:
        model = load_model("factorworld", device=device)
        victim = Victim(model, task.classes(model))
        pixels = victim.pixels(task.pictures)
        labels = task.indices.to(pixels.device)
        outcome = evaluate(victim, pixels, labels, budget, attacks)
        accuracy.append([outcome.clean.float().mean().item(), outcome.worst.float().mean().item()])
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.1)


def test_vectors_and_codes_of_the_cpu(here, there):
    rows = here.store.image_rows()[:20]
    edited_rows, parts, decoded = [], [], []
    mask = here.labels.alive
    for study in (here, there):
        edit = FeatureEdit.ablate(study, mask=mask)
        edited_rows.append(AppliedEdit(study, edit).vectors(rows, "image")[0])
        removal = Removal(study.feature_map, rows, "image")
        parts.append(removal.part(mask))
        decoded.append(study.feature_map.decode(removal.codes, "image").cpu())
    for pair in (edited_rows, parts, decoded):
        torch.testing.assert_close(*pair, atol=1e-4, rtol=1e-3)


def test_what_removing_latents_costs(here, there):
    cfg = CausalConfig(n_images=60, n_prompts=2)
    expected, found = (run_causal(study, cfg) for study in (here, there))
    for row, other in zip(expected.rows, found.rows, strict=True):
        assert (row.name, row.side) == (other.name, other.side)
        assert row.measures["retrieval"].value.value == pytest.approx(
            other.measures["retrieval"].value.value, abs=0.05
        )
