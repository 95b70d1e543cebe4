"""Drawing before and after: the same noise, the edit's own change, and no hook left behind."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from mm_sae_plugin.applications.steering import Painter, mix
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.generator import save_generator
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.interventions.pipelines import interruptible
from tests.factorworld.generator.tiny import tiny_pipeline

PROMPT = "two big red cars left"
FEW = {"num_inference_steps": 3, "prior_num_inference_steps": 2}


@pytest.fixture(scope="module")
def painter(study) -> Painter:
    torch.set_num_threads(1)
    return Painter(study, tiny_pipeline(), FEW)


@pytest.fixture(scope="module")
def edit(study) -> FeatureEdit:
    everything = torch.ones(study.feature_map.n_features, dtype=torch.bool)
    return FeatureEdit.replace(study, study.store.open_image(9), mask=everything)


def _same(one, other) -> bool:
    return np.array_equal(np.asarray(one.picture), np.asarray(other.picture))


def _is_clean(painter) -> bool:
    parts = (painter.denoiser, painter.pipeline.prior_prior)
    return not any(module._forward_pre_hooks for part in parts for module in part.modules())


def test_the_same_seed_is_the_same_noise(painter, study, edit):
    before = painter.paint(PROMPT, 3)
    assert before.picture.size == (64, 64)
    assert (before.moved, before.latents, before.steps) == (0.0, [], [])
    assert _same(before, painter.paint(PROMPT, 3, FeatureEdit.none(study)))
    assert not _same(before, painter.paint(PROMPT, 4))
    after = painter.paint(PROMPT, 3, edit)
    assert not _same(before, after) and _same(after, painter.paint(PROMPT, 3, edit))
    assert after.moved > 0.1 and after.latents and after.steps == [0, 1, 2]
    assert _same(before, painter.paint(PROMPT, 3, edit, strength=0.0))


def test_a_window_and_a_norm_hold(painter, study, edit):
    late = painter.paint(PROMPT, 3, edit.with_relative_norm(0.25), steps=(2, None))
    assert late.steps == [2] and late.moved == pytest.approx(0.25, abs=1e-4)
    whole = painter.paint(PROMPT, 3, edit.with_relative_norm(0.25))
    assert not _same(late, whole)


def test_a_sweep_goes_from_the_prompt_to_the_edit(painter, edit):
    drawn = dict(painter.sweep(PROMPT, 3, edit, (0.0, 0.5, 1.0)))
    assert _same(drawn[0.0], painter.paint(PROMPT, 3))
    assert _same(drawn[1.0], painter.paint(PROMPT, 3, edit))
    assert drawn[0.5].moved == pytest.approx(drawn[1.0].moved / 2, rel=1e-3)


def test_every_step_is_told_and_each_can_be_the_last(painter, edit):
    begun = []
    painter.paint(PROMPT, 3, edit, on_step=lambda *step: begun.append(step))
    assert begun == [(n, 5) for n in range(1, 6)]
    for last in (1, 4):
        begun.clear()
        with interruptible(painter.pipeline) as interruption:

            def note(n_begun, n_steps, last=last, interruption=interruption):
                begun.append(n_begun)
                if n_begun == last:
                    interruption.stop()

            painter.paint(PROMPT, 3, edit, on_step=note)
            raise AssertionError("it was not stopped")
        assert interruption.happened and begun[-1] == last
        assert _is_clean(painter)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 PB"), True),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_out_of_memory_is_a_sentence_and_leaves_no_hook(painter, edit, error, is_memory):
    def fail(*_):
        raise error

    hook = painter.denoiser.register_forward_hook(fail)
    expected, said = (UserError, "memory did not suffice") if is_memory else (type(error), "shapes")
    with pytest.raises(expected, match=said):
        painter.paint(PROMPT, 3, edit, on_step=lambda *_: None)
    hook.remove()
    assert _is_clean(painter)
    assert painter.paint(PROMPT, 3, edit).moved > 0


def test_bad_requests_are_sentences(painter, study, edit):
    for seed in (-1, True, 2**64):
        with pytest.raises(UserError, match="seed must be a whole number"):
            painter.paint(PROMPT, seed)
    with pytest.raises(UserError, match="caption is empty"):
        painter.paint("  ", 3)
    with pytest.raises(UserError, match="strength must be a finite number"):
        painter.paint(PROMPT, 3, edit, strength=float("nan"))
    with pytest.raises(UserError, match="0 <= start < stop"):
        painter.paint(PROMPT, 3, edit, steps=(2, 1))
    other = FeatureEdit((), "another", study.weights_id)
    with pytest.raises(UserError, match="of the SAE another"):
        painter.paint(PROMPT, 3, other)
    with pytest.raises(UserError, match="must be a finite number"):
        mix(study, {"CrossD": float("inf")}, image=study.store.open_image(0))
    assert _is_clean(painter)


def test_folders_that_are_no_pipeline(study, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"There is no pipeline in .*empty"):
        Painter.open(study, tmp_path / "empty")
    with pytest.raises(UserError, match="could not be loaded"):
        Painter.open(study, "nobody/nothing-of-that-name")
    save_generator(tiny_pipeline(), tmp_path / "whole")
    opened = Painter.open(study, tmp_path / "whole")
    assert opened.is_embedded and opened.n_steps == 24
    (tmp_path / "whole/unet/config.json").unlink()
    with pytest.raises(UserError, match=r"whole could not be loaded \(.+\): give a folder"):
        Painter.open(study, tmp_path / "whole")


def test_pipelines_that_need_more_than_a_prompt(study, painter):
    with pytest.raises(UserError, match="not known where a joint vector flows"):
        Painter(study, SimpleNamespace())
    with pytest.raises(UserError, match="is only a part, and takes no prompt"):
        Painter(study, painter.pipeline.decoder_pipe)
