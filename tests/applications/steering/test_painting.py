"""Drawing before and after: the same noise, the edit's own change, and no hook left behind."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")

from mm_sae_plugin.applications.steering import Painter, mix
from mm_sae_plugin.applications.steering.identity import pipeline_identity
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
    with pytest.raises(UserError, match="prompt is empty"):
        painter.paint("  ", 3)
    with pytest.raises(UserError, match="strength must be a finite number"):
        painter.paint(PROMPT, 3, edit, strength=float("nan"))
    with pytest.raises(UserError, match="strength must be a finite number"):
        list(painter.sweep(PROMPT, 3, edit, (0.0, float("nan"))))
    # Without an edit, too.
    for one in (edit, None):
        with pytest.raises(UserError, match="0 <= start < stop"):
            painter.paint(PROMPT, 3, one, steps=(2, 1))
        with pytest.raises(UserError, match="begins with step 50, and the picture has 3 steps"):
            painter.paint(PROMPT, 3, one, steps=(50, 60))
    other = FeatureEdit((), "another", study.weights_id)
    with pytest.raises(UserError, match="of the SAE another"):
        painter.paint(PROMPT, 3, other)
    with pytest.raises(UserError, match="must be a finite number"):
        mix(study, {"CrossD": float("inf")}, image=study.store.open_image(0))
    assert _is_clean(painter)


@pytest.mark.usefixtures("any_types")
def test_prompts_and_seeds_of_another_kind_are_sentences(painter):
    for prompt in (None, b"a red car", ["a red car"]):
        with pytest.raises(UserError, match="prompt must be a str, not"):
            painter.paint(prompt, 3)
    for seed in (-1, True, 2**64, 3.0, "3", None, np.True_):
        with pytest.raises(UserError, match="seed must be a whole number"):
            painter.paint(PROMPT, seed)
    drawn = painter.paint(PROMPT, 3)
    for seed in (np.int64(3), np.uint8(3), torch.tensor(3)):
        assert _same(drawn, painter.paint(PROMPT, seed))


@pytest.mark.parametrize("huge", [1e38, 1e300])
def test_a_picture_of_no_numbers_is_a_sentence(painter, study, edit, huge, recwarn):
    far = FeatureEdit.add(study, huge, latents=[latent for latent, _ in _strongest(painter, edit)])
    for one, strength, told in (
        (edit, huge, "a strength of"),
        (edit.with_relative_norm(huge), 1.0, "e.* of"),
        (far, 1.0, "amounts of up to"),
    ):
        with pytest.raises(UserError, match=f"This edit overflows: .*{told}.* Give smaller ones"):
            painter.paint(PROMPT, 3, one, strength=strength)
    assert not _shown(recwarn)
    assert _is_clean(painter)


def _shown(recwarn) -> list[str]:
    """What a terminal shows; warnings for authors of libraries it does not."""
    return [str(one.message) for one in recwarn if one.category is not DeprecationWarning]


def _strongest(painter, edit):
    return painter.paint(PROMPT, 3, edit).latents


def test_what_the_decoder_makes_of_an_edit_is_looked_at_too(painter, edit):
    """Another pipeline's own numbers may end before those of the vector do."""

    def fail(module, args, output):
        return (output[0] * float("inf"), *output[1:])

    # With a hook of its own, that is called before the edit's.
    hook = painter.denoiser.register_forward_hook(fail)
    try:
        with pytest.raises(UserError, match="This edit overflows"):
            painter.paint(PROMPT, 3, edit)
    finally:
        hook.remove()


def test_drawing_says_nothing_in_the_terminal(painter, edit, recwarn, capfd):
    painter.paint(PROMPT, 3, edit)
    assert not _shown(recwarn) and capfd.readouterr() == ("", "")


def test_a_pipeline_is_known_by_its_parts(painter, study, tmp_path):
    made = painter.identity
    assert made["class"] == "KandinskyV22CombinedPipeline" and made["source"] is None
    save_generator(tiny_pipeline(), tmp_path / "mine")
    opened = Painter.open(study, tmp_path / "mine").identity
    assert opened["source"] == "mine" and str(tmp_path) not in json.dumps(opened)
    assert set(opened["weights"]) == {
        *("movq", "unet", "prior_prior", "prior_image_encoder", "prior_text_encoder")
    }
    again = Painter.open(study, tmp_path / "mine").pipeline
    assert pipeline_identity(again) == opened
    with torch.no_grad():
        again.unet.conv_out.bias[0] += 1
    changed = pipeline_identity(again)["weights"]
    assert [name for name in changed if changed[name] != opened["weights"][name]] == ["unet"]
    assert Painter.open(study).identity["source"] == "embedded"


def test_folders_that_are_no_pipeline(study, tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"There is no pipeline in .*empty"):
        Painter.open(study, tmp_path / "empty")
    with pytest.raises(
        UserError, match=r"nothing-of-that-name could not be loaded \([^()]+\): give"
    ):
        Painter.open(study, "nobody/nothing-of-that-name")
    for content in ("", "{}", "[]", "3", '{"_class_name": 3}', "[" * 100_000):
        (tmp_path / "empty/model_index.json").write_text(content)
        with pytest.raises(UserError, match=r"model_index\.json does not say which pipeline"):
            Painter.open(study, tmp_path / "empty")
    (tmp_path / "empty/model_index.json").write_text('{"_class_name": "Nobody"}')
    with pytest.raises(UserError, match=r"empty could not be loaded \(.*Nobody\): give a folder"):
        Painter.open(study, tmp_path / "empty")
    save_generator(tiny_pipeline(), tmp_path / "whole")
    capfd.readouterr()
    opened = Painter.open(study, tmp_path / "whole")
    assert capfd.readouterr() == ("", "")
    assert opened.is_embedded and opened.n_steps == 24
    (tmp_path / "whole/unet/config.json").unlink()
    with pytest.raises(UserError, match=r"whole could not be loaded \(.+\): copy it again"):
        Painter.open(study, tmp_path / "whole")


@pytest.mark.usefixtures("any_types")
def test_what_is_no_name_of_a_pipeline(study, painter):
    kinds: list[Any] = [3, True, ["folder"], painter.pipeline]
    for given in kinds:
        with pytest.raises(UserError, match="pipeline must be a folder or the name of one"):
            Painter.open(study, given)


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("unet", r"The unet in .*half lacks \d+ of its \d+ weights, such as \w"),
        ("movq", r"The movq in .*half lacks 1 of its 3 weights, such as mean"),
        ("prior_prior", r"The prior_prior in .*half lacks \d+ of its"),
        # transformers fills what is missing by chance.
        ("prior_text_encoder", "but the text encoder of Kandinsky.* agree to a cosine"),
        ("prior_image_encoder", "but the image encoder of Kandinsky.* agree to a cosine"),
    ],
)
def test_half_of_a_weights_file(study, tmp_path, part, told):
    save_generator(tiny_pipeline(), tmp_path / "half")
    (path,) = (tmp_path / "half" / part).glob("*.safetensors")
    kept = dict(sorted(load_file(path).items())[::2])
    save_file(kept, path, {"format": "pt"})
    with pytest.raises(UserError, match=told):
        Painter.open(study, tmp_path / "half")


def test_pipelines_that_need_more_than_a_prompt(study, painter):
    with pytest.raises(UserError, match="not known where a joint vector flows"):
        Painter(study, SimpleNamespace())
    with pytest.raises(UserError, match="is only a part, and takes no prompt"):
        Painter(study, painter.pipeline.decoder_pipe)
