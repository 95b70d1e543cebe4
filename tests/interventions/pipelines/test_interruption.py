"""Stopping a generation from another thread."""

import threading
from typing import Any

import numpy as np
import pytest
from torch import nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import steer_pipeline
from mm_sae_plugin.interventions.pipelines import interruptible
from tests.interventions.pipelines.tiny import CASES, draw
from tests.interventions.pipelines.watching import is_untouched

MANY = 400
"""Steps that take longer than a test may."""


@pytest.mark.parametrize("part", ["prior_prior", "unet"])
def test_kandinsky_stops_in_the_middle_and_works_afterwards(part, clip_folder, study, edit):
    case = CASES["KandinskyV22CombinedPipeline"]
    pipeline = case.build(clip_folder)
    plain = draw(pipeline, case)
    n_steps, begun = 0, threading.Event()

    def count(module: nn.Module, args: Any) -> None:
        nonlocal n_steps
        n_steps += 1
        if n_steps == 3:
            begun.set()

    handle = getattr(pipeline, part).register_forward_pre_hook(count)
    name = "prior_num_inference_steps" if part == "prior_prior" else "num_inference_steps"
    more: dict[str, Any] = {name: MANY}
    pictures = None
    with interruptible(pipeline) as interruption, steer_pipeline(pipeline, study, edit):

        def stop_when_begun() -> None:
            begun.wait(60)
            interruption.stop()

        other = threading.Thread(target=stop_when_begun)
        other.start()
        pictures = draw(pipeline, case, **more)
    other.join()
    handle.remove()
    assert interruption.happened and pictures is None
    assert 3 <= n_steps < MANY
    assert is_untouched(pipeline)
    assert np.array_equal(draw(pipeline, case), plain)


def test_a_stop_from_a_callback_counts_steps(clip_folder):
    case = CASES["KandinskyV22Pipeline"]
    pipeline = case.build(clip_folder)
    done = []

    def stop_after_two(pipe: Any, step: int, timestep: Any, tensors: dict) -> dict:
        done.append(step)
        if step == 1:
            interruption.stop()
        return tensors

    with interruptible(pipeline) as interruption:
        draw(pipeline, case, callback_on_step_end=stop_after_two)
    assert interruption.happened and done == [0, 1]


def test_without_a_stop_nothing_changes(clip_folder):
    case = CASES["KandinskyV22Pipeline"]
    pipeline = case.build(clip_folder)
    plain = draw(pipeline, case)
    with interruptible(pipeline) as interruption:
        assert np.array_equal(draw(pipeline, case), plain)
    assert not interruption.happened and is_untouched(pipeline)
    interruption.stop()
    assert np.array_equal(draw(pipeline, case), plain)


def test_other_errors_and_outer_stops_pass_through(clip_folder):
    case = CASES["KandinskyV22Pipeline"]
    pipeline = case.build(clip_folder)
    with pytest.raises(KeyError), interruptible(pipeline):
        raise KeyError("something else")
    with interruptible(pipeline) as outer:
        with interruptible(pipeline) as inner:
            outer.stop()
            draw(pipeline, case)
        pytest.fail("the outer block went on")
    assert outer.happened and not inner.happened
    assert is_untouched(pipeline)
    with pytest.raises(UserError, match="has no denoiser to stop"), interruptible(None):
        pass
