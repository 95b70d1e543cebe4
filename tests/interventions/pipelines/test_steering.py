"""Edits of every supported pipeline: what they change, when, where, and that nothing stays."""

from typing import Any

import numpy as np
import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit, steer_pipeline
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.interventions.pipelines import EDIT_SITES, find_site
from tests.interventions.pipelines.parts import WIDTH
from tests.interventions.pipelines.tiny import CASES, STEPS, draw
from tests.interventions.pipelines.watching import given_to, is_untouched
from tests.synchronisation import NoSynchronisation

# Decoders that are given ready embeddings say that nobody checked the encoder.
pytestmark = pytest.mark.filterwarnings("ignore:.*holds no encoder")


def test_every_registered_class_is_tested():
    registered = {name for site in EDIT_SITES for name in site.pipelines}
    assert registered == {name.split()[0] for name in CASES}


def test_an_edit_changes_the_picture_and_an_empty_one_no_bit(pipeline, case, study, edit):
    plain = draw(pipeline, case)
    assert np.isfinite(plain).all() and plain.std() > 0.05
    with steer_pipeline(pipeline, study, FeatureEdit.none(study), **case.more) as record:
        assert np.array_equal(draw(pipeline, case), plain)
    assert (record.n_calls, record.n_edited) == (STEPS, 0)
    with steer_pipeline(pipeline, study, edit, **case.more) as record:
        steered = draw(pipeline, case)
    assert np.abs(steered - plain).max() > 0.01
    assert record.steps == list(range(STEPS)) and record.halves == {"cond": STEPS}
    assert record.mean_relative_norm > 0.05
    assert is_untouched(pipeline)
    assert np.array_equal(draw(pipeline, case), plain)


def test_only_the_conditional_half_moves_and_as_the_edit_says(pipeline, case, study, edit):
    with given_to(pipeline, case) as plain:
        draw(pipeline, case)
    with steer_pipeline(pipeline, study, edit, **case.more), given_to(pipeline, case) as steered:
        draw(pipeline, case)
    modality = find_site(pipeline, case.more.get("site")).modality
    is_unclip = find_site(pipeline).name == "unclip"
    for before, after in zip(plain, steered, strict=True):
        uncond, cond = before.chunk(2)
        assert torch.equal(after.chunk(2)[0], uncond)
        moved = after.chunk(2)[1]
        if is_unclip:
            # At noise level 0 what flows is the embedding but for a little noise.
            assert torch.equal(moved[:, WIDTH:], cond[:, WIDTH:])
            cond, moved = cond[:, :WIDTH], moved[:, :WIDTH]
        expected, _ = AppliedEdit(study, edit).vectors(cond, modality)
        tolerance = 0.1 if is_unclip else 1e-5
        torch.testing.assert_close(moved, expected, atol=tolerance, rtol=tolerance)
        assert not torch.allclose(moved, cond, atol=0.1)


def test_a_window_of_steps_counted_anew_for_each_picture(pipeline, case, study, edit):
    with given_to(pipeline, case) as plain:
        draw(pipeline, case)
    with (
        steer_pipeline(pipeline, study, edit, steps=(1, 2), **case.more) as record,
        given_to(pipeline, case) as steered,
    ):
        first, second = draw(pipeline, case), draw(pipeline, case)
    same = [torch.equal(a, b) for a, b in zip(plain * 2, steered, strict=True)]
    assert same == [True, False, True] * 2
    assert np.array_equal(first, second)
    assert (record.steps, record.n_calls, record.n_edited) == ([1], 2 * STEPS, 2)
    strengths: list[float] = [0.0] * (STEPS - 1) + [1.0]
    with (
        steer_pipeline(pipeline, study, edit, strength=strengths, **case.more),
        given_to(pipeline, case) as steered,
    ):
        draw(pipeline, case)
    assert [torch.equal(a, b) for a, b in zip(plain, steered, strict=True)] == [True, True, False]


def test_halves_of_guidance(pipeline, case, study, edit):
    with given_to(pipeline, case) as plain:
        draw(pipeline, case)
    uncond = plain[0].chunk(2)[0]
    assert not (find_site(pipeline).zero_unconditional and uncond.any())
    for half in ("both", "uncond"):
        if half == "uncond" and find_site(pipeline).zero_unconditional:
            with (
                pytest.raises(UserError, match=r"unconditional half of \w+ is all zeros"),
                steer_pipeline(pipeline, study, edit, half="uncond"),
            ):
                pass
            continue
        with (
            steer_pipeline(pipeline, study, edit, half=half, **case.more) as record,
            given_to(pipeline, case) as steered,
        ):
            draw(pipeline, case)
        pairs = zip(plain[0].chunk(2), steered[0].chunk(2), strict=True)
        changed = [not torch.equal(before, after) for before, after in pairs]
        # Zeros are no direction that could be turned.
        assert changed == [bool(uncond.any()), half == "both"]
        assert record.halves == {half: STEPS}


def test_without_guidance_every_row_is_conditional(pipeline, case, study, edit):
    off: dict[str, Any] = dict(guidance_scale=1.0)
    plain = draw(pipeline, case, **off)
    with (
        steer_pipeline(pipeline, study, edit, **case.more) as record,
        given_to(pipeline, case) as steered,
    ):
        assert np.abs(draw(pipeline, case, **off) - plain).max() > 0.01
    assert record.halves == {"cond": STEPS}
    n_vectors = sum(t.numel() // t.shape[-1] for t in steered)
    assert record.n_rows == n_vectors
    if find_site(pipeline).zero_unconditional:
        return
    with (
        pytest.raises(UserError, match="Guidance is off"),
        steer_pipeline(pipeline, study, edit, half="uncond", **case.more),
    ):
        draw(pipeline, case, **off)
    assert is_untouched(pipeline)


@pytest.mark.parametrize(
    "case",
    [
        "KandinskyV22Pipeline",
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "StableUnCLIPImg2ImgPipeline",
        "StableDiffusionImageVariationPipeline",
    ],
)
def test_several_pictures_at_once(case, clip_folder, study, edit):
    case = CASES[case]
    pipeline = case.build(clip_folder)
    more: dict[str, Any] = dict(num_images_per_prompt=2)
    plain = draw(pipeline, case, **more)
    with steer_pipeline(pipeline, study, edit, **case.more):
        steered = draw(pipeline, case, **more)
    assert all(np.abs(a - b).max() > 0.01 for a, b in zip(plain, steered, strict=True))


def test_hooks_go_away_whatever_happens(pipeline, case, study, edit):
    denoiser = getattr(pipeline, "decoder_pipe", pipeline).unet

    def stumble(module: Any, args: Any) -> None:
        raise KeyError("something else, which is not hidden")

    handle = denoiser.register_forward_pre_hook(stumble)
    with pytest.raises(KeyError), steer_pipeline(pipeline, study, edit, **case.more):
        draw(pipeline, case)
    handle.remove()
    assert is_untouched(pipeline)
    with (
        pytest.raises(UserError, match="denoised nothing in this block"),
        steer_pipeline(pipeline, study, edit, **case.more),
    ):
        pass
    assert is_untouched(pipeline)


@pytest.mark.parametrize("case", ["StableUnCLIPImg2ImgPipeline", "StableDiffusionXLPipeline"])
def test_blocks_nest_and_close_in_any_order(case, clip_folder, study, edit):
    case = CASES[case]
    pipeline = case.build(clip_folder)
    plain = draw(pipeline, case)
    outer, inner = (steer_pipeline(pipeline, study, edit) for _ in range(2))
    outer.__enter__()
    inner.__enter__()
    twice = draw(pipeline, case)
    outer.__exit__(None, None, None)
    once = draw(pipeline, case)
    inner.__exit__(None, None, None)
    with steer_pipeline(pipeline, study, edit):
        assert np.array_equal(draw(pipeline, case), once)
    assert not np.array_equal(twice, plain) and not np.array_equal(once, plain)
    assert is_untouched(pipeline) and np.array_equal(draw(pipeline, case), plain)


@pytest.mark.parametrize("in_place", [False, True])
def test_compiled_denoisers(in_place, clip_folder, study, edit):
    case = CASES["StableDiffusionImageVariationPipeline"]
    pipeline = case.build(clip_folder)
    plain = draw(pipeline, case)
    with steer_pipeline(pipeline, study, edit, steps=(1, 2)):
        steered = draw(pipeline, case)
    if in_place:
        pipeline.unet.compile(backend="eager")
    else:
        pipeline.unet = torch.compile(pipeline.unet, backend="eager")
    assert np.allclose(draw(pipeline, case), plain, atol=1e-4)
    with steer_pipeline(pipeline, study, edit, steps=(1, 2)) as record:
        assert np.allclose(draw(pipeline, case), steered, atol=1e-4)
    assert (record.n_calls, record.steps) == (STEPS, [1])
    assert np.allclose(draw(pipeline, case), plain, atol=1e-4)


def test_the_host_never_waits_in_a_step(pipeline, case, study, edit):
    with given_to(pipeline, case) as plain:
        draw(pipeline, case)
    denoiser = getattr(pipeline, "decoder_pipe", pipeline).unet
    waiting: list[NoSynchronisation] = []

    # Set before and after the edit's own hook, so that it runs between the two.
    def enter(module: Any, args: Any, kwargs: Any) -> None:
        waiting.append(NoSynchronisation())
        waiting[-1].__enter__()

    def leave(module: Any, args: Any, kwargs: Any) -> None:
        waiting[-1].__exit__(None, None, None)

    first = denoiser.register_forward_pre_hook(enter, with_kwargs=True)
    with steer_pipeline(pipeline, study, edit, **case.more) as record:
        last = denoiser.register_forward_pre_hook(leave, with_kwargs=True)
        draw(pipeline, case)
        last.remove()
    first.remove()
    assert record.n_edited == len(waiting) == len(plain)
