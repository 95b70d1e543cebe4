"""Training on a store that is read while it goes on: the same as in memory, in less of it."""

import statistics
import threading

import pytest
import torch

from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json
from mm_sae_plugin.training import (
    MultimodalSAERunnerConfig,
    MultimodalSAETrainingRunner,
    evaluate_per_modality,
    train_seeds,
)
from mm_sae_plugin.training.data import TrainingData
from mm_sae_plugin.training.memory import machine_memory
from mm_sae_plugin.training.trainer import WatchedTrainer
from tests.activations.written import write_store
from tests.training.synthetic import synthetic_pairs

N_PAIRS = 6000
# A sixth of what the rows take.
BUDGET_GB = 0.0005
SEEDS = (0, 1, 2)


def sorted_pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs in the order of their content: those that look alike stand together."""
    images, texts = synthetic_pairs(N_PAIRS, seed=1)
    # Along the direction in which they differ most; so the ends of the store have little in common.
    direction = torch.pca_lowrank(images, q=1, niter=4)[2][:, 0]
    order = (images @ direction).argsort()
    return images[order], texts[order]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ActivationStore:
    images, texts = sorted_pairs()
    shards = [
        (image, text, torch.arange(len(image)))
        for image, text in zip(images.split(1700), texts.split(1700), strict=True)
    ]
    return write_store(tmp_path_factory.mktemp("streaming") / "sorted", shards)


def config(**options) -> MultimodalSAERunnerConfig:
    defaults = {"d_sae": 64, "k": 6, "training_steps": 60, "train_batch_size_samples": 128}
    return MultimodalSAERunnerConfig(**{**defaults, **options})


def streamed(**options) -> MultimodalSAERunnerConfig:
    return config(max_memory_gb=BUDGET_GB, **options)


def test_a_large_store_is_streamed_and_a_small_one_read(store):
    assert TrainingData.from_store(store).streamed is None
    assert TrainingData.from_store(store, max_memory_gb=0.1).streamed is None
    data = TrainingData.from_store(store, BUDGET_GB)
    assert data.streamed is not None and data.streamed.chunks.n_chunks >= 4
    assert data.order["n_chunks"] == data.streamed.chunks.n_chunks
    assert data.is_paired and data.n_items == N_PAIRS and data.d_in == 32
    assert 2**28 < machine_memory() < 2**50


@pytest.mark.parametrize("normalize", ["none", "per_modality_center_scale", "per_modality_scale"])
def test_what_is_measured_of_all_rows_is_the_same(store, normalize):
    plain, from_disk = (
        MultimodalSAETrainingRunner(config(normalize=normalize, max_memory_gb=limit), store)
        for limit in (None, BUDGET_GB)
    )
    assert from_disk.data.streamed is not None
    torch.testing.assert_close(
        from_disk.normalization.mean, plain.normalization.mean, rtol=1e-5, atol=1e-7
    )
    torch.testing.assert_close(
        from_disk.normalization.scale, plain.normalization.scale, rtol=1e-5, atol=1e-7
    )
    torch.testing.assert_close(from_disk.data.center(), plain.data.center(), rtol=1e-4, atol=1e-6)
    assert from_disk.data.spread() == pytest.approx(plain.data.spread(), rel=1e-5)
    for ours, theirs in zip(from_disk.data.sampled(400), plain.data.sampled(400), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_saved_sae_is_evaluated_on_all_rows(store, tmp_path):
    cfg = streamed(out=tmp_path / "sae", normalize="per_modality_center")
    result = MultimodalSAETrainingRunner(cfg, store).run()
    again = MultimodalSAETrainingRunner(config(normalize="per_modality_center"), store)
    in_memory = evaluate_per_modality(result.sae, again.data.acts_image, again.data.acts_text)
    assert result.evaluation.n_rows == {"image": N_PAIRS, "text": N_PAIRS}
    assert result.evaluation.l0 == pytest.approx(in_memory.l0, rel=1e-3)
    assert result.evaluation.explained_variance == pytest.approx(
        in_memory.explained_variance, rel=1e-5
    )
    said = parse_json((tmp_path / "sae/runner_cfg.json").read_text())
    assert said["max_memory_gb"] == BUDGET_GB and said["n_chunks"] >= 4
    assert not [t for t in threading.enumerate() if t.name.startswith("activation-reader")]


def test_images_alone(store, tmp_path):
    shards = [(part, None, None) for part in store.image_rows().split(1700)]
    images = write_store(tmp_path / "images", shards)
    runner = MultimodalSAETrainingRunner(streamed(), images)
    assert runner.data.streamed is not None
    assert runner.run().evaluation.n_rows == {"image": N_PAIRS}


def test_resumes_to_the_very_same_weights(store, tmp_path):
    cfg = streamed(out=tmp_path / "sae", n_checkpoints=2)
    whole = MultimodalSAETrainingRunner(cfg, store).run()
    checkpoints = sorted((tmp_path / "sae/checkpoints").iterdir())
    assert len(checkpoints) == 2
    (tmp_path / "sae/cfg.json").unlink()
    resumed = MultimodalSAETrainingRunner(streamed(out=tmp_path / "sae", resume=True), store).run()
    assert torch.equal(resumed.sae.W_dec, whole.sae.W_dec)
    (tmp_path / "sae/cfg.json").unlink()
    with pytest.raises(UserError, match=r"max_memory_gb = 0\.0005, this run has max_memory_gb"):
        MultimodalSAETrainingRunner(config(out=tmp_path / "sae", resume=True), store).run()


def test_seeds_trained_together_are_those_trained_alone(store):
    together = train_seeds(streamed(), [0, 1], store)
    alone = MultimodalSAETrainingRunner(streamed(seed=1), store).run()
    assert torch.equal(together[1].sae.W_dec, alone.sae.W_dec)


def test_too_little_memory_is_refused_and_what_is_enough_is_told(store):
    with pytest.raises(UserError, match="max_memory_gb = 1e-05 is too little") as refused:
        MultimodalSAETrainingRunner(config(max_memory_gb=1e-5), store)
    enough = float(str(refused.value).split("at least ")[1].split(",")[0])
    assert enough < BUDGET_GB * 2
    runner = MultimodalSAETrainingRunner(config(max_memory_gb=enough, training_steps=2), store)
    assert runner.data.streamed is not None
    runner.run()
    with pytest.raises(UserError, match="max_memory_gb must be above 0"):
        config(max_memory_gb=0.0)


def losses(cfg: MultimodalSAERunnerConfig, store: ActivationStore) -> tuple[list[float], float]:
    """Mean loss in each tenth of the training, and the explained variance of the captions."""
    runner = MultimodalSAETrainingRunner(cfg, store)
    seen: list[float] = []

    class Listening(WatchedTrainer):
        def step(self, batch):
            output = super().step(batch)
            seen.append(float(output.losses["mse_loss"].detach()))
            return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mm_sae_plugin.training.runner.WatchedTrainer", Listening)
        result = runner.run()
    tenths = torch.tensor(seen).view(10, -1).mean(dim=1).tolist()
    return tenths, statistics.mean(result.evaluation.explained_variance.values())


def test_a_sorted_store_trains_as_it_does_in_memory(store):
    # Two epochs of 94 steps.
    cfg = {"training_steps": 190, "lr": 2e-3}
    plain = [losses(config(seed=seed, **cfg), store) for seed in SEEDS]
    from_disk = [losses(streamed(seed=seed, **cfg), store) for seed in SEEDS]
    quality = [[ev for _, ev in runs] for runs in (plain, from_disk)]
    spread = statistics.stdev([*quality[0], *quality[1]])
    # Means of three seeds each: their difference has a standard error of 0.8 spreads.
    room = 2.5 * spread
    assert abs(statistics.mean(quality[0]) - statistics.mean(quality[1])) < room
    curves = torch.tensor([[curve for curve, _ in runs] for runs in (plain, from_disk)])
    difference = curves[0].mean(dim=0) - curves[1].mean(dim=0)
    # All ten points of the curve at once, so with more room.
    assert bool((difference.abs() < 3.5 * curves.std(dim=1).mean(dim=0)).all()), curves
    # An order that does not mix is noticed: read as it lies there, the store trains another SAE.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randperm", lambda n, generator: torch.arange(n))
        _, unmixed = losses(config(seed=SEEDS[0], **cfg), store)
    assert unmixed < statistics.mean(quality[0]) - 2 * room
