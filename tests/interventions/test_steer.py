"""Edits at any place of any module, and that nothing stays behind."""

import copy
import dataclasses
import re
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.inspection import has_hooks
from mm_sae_plugin.interventions import FeatureEdit, edited, steer
from mm_sae_plugin.interventions.applied import AppliedEdit
from mm_sae_plugin.interventions.passing import Half
from tests.synchronisation import NoSynchronisation


@dataclasses.dataclass(frozen=True)
class Output:
    """What a pipeline's encoder returns."""

    last: str
    image_embeds: Tensor


class Encoder(nn.Module):
    """Hands on a vector in the form that is asked for."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form
        self.scale = nn.Parameter(torch.ones(()))

    def embed(self, acts: Tensor) -> Tensor:
        return acts * self.scale

    def forward(self, acts: Tensor, more: int = 0) -> Any:
        out = self.embed(acts)
        forms = {"tensor": out, "tuple": ("first", out), "dict": {"image_embeds": out}}
        return {**forms, "dataclass": Output("kept", out)}[self.form]


class Pipeline(nn.Module):
    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.image_encoder = Encoder(form)

    def forward(self, acts: Tensor, by_name: bool = False) -> Any:
        return self.image_encoder(acts=acts) if by_name else self.image_encoder(acts)


@pytest.fixture(scope="module")
def edit(study) -> FeatureEdit:
    fires = study.labels.statistics.channel("fires_image")
    return FeatureEdit.set(study, 1.5, latents=fires.topk(4).indices.tolist())


@pytest.fixture(scope="module")
def acts(study) -> Tensor:
    return study.store.image_rows()[:8] * 5


@pytest.fixture(scope="module")
def expected(study, edit, acts) -> Tensor:
    edited, _ = AppliedEdit(study, edit).vectors(acts, "image")
    assert not torch.allclose(edited, acts)
    return edited


@pytest.mark.parametrize(
    ("form", "item", "read"),
    [
        ("tensor", 0, lambda out: out),
        ("tuple", 1, lambda out: out[1]),
        ("dict", "image_embeds", lambda out: out["image_embeds"]),
        ("dataclass", "image_embeds", lambda out: out.image_embeds),
    ],
)
def test_the_vector_is_found_in_any_output(study, edit, acts, expected, form, item, read):
    pipeline = Pipeline(form)
    with steer(pipeline, study, edit, path="image_encoder", item=item) as record:
        out = pipeline(acts)
    torch.testing.assert_close(read(out), expected)
    assert record.n_calls == record.n_edited == 1 and record.n_rows == len(acts)
    assert record.halves == {"both": 1} and record.steps == [0]
    moved = (expected - acts).norm(dim=-1) / acts.norm(dim=-1)
    assert record.mean_relative_norm == pytest.approx(float(moved.mean()), rel=1e-4)
    by_row = AppliedEdit(study, edit).vectors(acts, "image")[1]
    assert by_row is not None
    change = by_row.mean(0)
    latents, changes = zip(*record.most_moved(9), strict=True)
    assert set(latents) <= set(edit.latents)
    torch.testing.assert_close(torch.tensor(changes), change[list(latents)], rtol=1e-4, atol=1e-6)
    assert abs(changes[0]) == pytest.approx(float(change.abs().max()), rel=1e-4)
    torch.testing.assert_close(read(pipeline(acts)), acts)
    assert not has_hooks(pipeline.image_encoder)


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("item", [0, "acts"])
def test_inputs_and_methods_too(study, edit, acts, expected, by_name, item):
    pipeline = Pipeline()
    with steer(pipeline.image_encoder, study, edit, at="input", item=item):
        torch.testing.assert_close(pipeline(acts, by_name), expected)
    with steer(pipeline, study, edit, path="image_encoder", at="embed"):
        torch.testing.assert_close(pipeline(acts, by_name), expected)
    assert "embed" not in vars(pipeline.image_encoder)
    torch.testing.assert_close(pipeline(acts), acts)


def test_the_empty_edit_changes_no_bit(study, acts):
    encoder = Encoder()
    with steer(encoder, study, FeatureEdit.none(study)) as record:
        assert torch.equal(encoder(acts), acts)
    assert (record.n_calls, record.n_edited) == (1, 0)
    assert record.mean_relative_norm == 0 and record.most_moved() == []


def test_halves_of_guidance_and_parts_of_a_batch(study, edit, acts, expected):
    encoder = Encoder()
    halves: tuple[tuple[Half, slice], ...] = (("uncond", slice(0, 4)), ("cond", slice(4, 8)))
    for half, part in halves:
        with steer(encoder, study, edit, half=half) as record:
            out = encoder(acts)
        wanted = acts.clone()
        wanted[part] = expected[part]
        torch.testing.assert_close(out, wanted)
        assert record.halves == {half: 1}
    with steer(encoder, study, edit, half="cond", rows=slice(1, 2)):
        out = encoder(acts)
    assert (out != acts).any(-1).nonzero()[:, 0].tolist() == [5]
    with (
        pytest.raises(UserError, match="has no two halves of guidance"),
        steer(encoder, study, edit, half="cond"),
    ):
        encoder(acts[:3])
    assert not has_hooks(encoder)


def test_a_window_of_steps_and_a_schedule(study, edit, acts, expected):
    encoder = Encoder()
    with steer(encoder, study, edit, steps=(1, 3), calls_per_step=2) as record:
        edited = [not torch.equal(encoder(acts), acts) for _ in range(8)]
    assert edited == [False, False, True, True, True, True, False, False]
    assert record.steps == [1, 2] and record.n_calls == 8 and record.n_edited == 4
    for strength in ([0.0, 0.5, 1.0], lambda step: min(step / 2, 1.0)):
        with steer(encoder, study, edit, strength=strength):
            outs = [encoder(acts) for _ in range(4)]
        for out, share in zip(outs, (0, 0.5, 1, 1), strict=True):
            torch.testing.assert_close(out, acts + share * (expected - acts), atol=1e-4, rtol=1e-4)


def test_edits_nest(study, acts):
    encoder = Encoder()
    fires = study.labels.statistics.channel("fires_image").topk(2).indices.tolist()
    first, second = (FeatureEdit.ablate(study, latents=[latent]) for latent in fires)
    inner, _ = AppliedEdit(study, first).vectors(acts, "image")
    both, _ = AppliedEdit(study, second).vectors(inner, "image")
    for at in ("output", "embed"):
        with steer(encoder, study, first, at=at), steer(encoder, study, second, at=at):
            torch.testing.assert_close(encoder(acts), both)
        # Blocks that do not close in order leave nothing behind either.
        outer, nested = steer(encoder, study, first, at=at), steer(encoder, study, second, at=at)
        outer.__enter__()
        nested.__enter__()
        encoder(acts)
        outer.__exit__(None, None, None)
        alone, _ = AppliedEdit(study, second).vectors(acts, "image")
        torch.testing.assert_close(encoder(acts), alone)
        nested.__exit__(None, None, None)
        torch.testing.assert_close(encoder(acts), acts)
    assert not has_hooks(encoder)


def test_hooks_go_away_whatever_happens(study, edit, acts):
    encoder = Encoder()
    with pytest.raises(KeyError), steer(encoder, study, edit):
        raise KeyError("something else, which is not hidden")

    def images():
        with steer(encoder, study, edit):
            while True:
                yield encoder(acts)

    generator = images()
    next(generator)
    generator.close()

    def in_a_thread():
        with steer(encoder, study, edit):
            encoder(acts)
            raise SystemExit

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert not has_hooks(encoder)
    assert torch.equal(encoder(acts), acts)


def test_a_copy_made_inside_a_block_is_not_edited_after_it(study, edit, acts):
    encoder = Encoder()
    with steer(encoder, study, edit), steer(encoder, study, edit, at="embed"):
        encoder(acts)
        copied = copy.deepcopy(encoder)
    assert torch.equal(copied(acts), acts)


@pytest.mark.parametrize("huge", [1e38, 1e300])
def test_an_edit_that_overflows_is_told_and_names_what_is_too_large(study, edit, acts, huge):
    """Also where the vectors are numbers still, and only their lengths are none."""
    encoder = Encoder()
    latents = edit.latents
    asked: list[tuple[FeatureEdit, float, str]] = [
        (edit, huge, f"a strength of {huge:g}"),
        (edit.with_relative_norm(huge), 1.0, f"|Δe| / |e| of {huge:g}"),
        (FeatureEdit.add(study, huge, latents=latents), 1.0, "amounts of up to"),
        (FeatureEdit.scale(study, huge, latents=latents), 1.0, "amounts of up to"),
    ]
    for one, strength, told in asked:
        with (
            pytest.raises(UserError, match=f"This edit overflows: .*{re.escape(told)}"),
            steer(encoder, study, one, strength=strength),
        ):
            encoder(acts)
        assert not has_hooks(encoder)
    # What was no number before is not the edit's doing.
    with steer(encoder, study, edit) as record:
        encoder(torch.full_like(acts, float("nan")))
    assert record.is_finite


def test_a_window_that_no_step_lies_in_is_told(study, edit, acts):
    encoder = Encoder()
    with (
        pytest.raises(UserError, match="begins with 3, after the last one that was made"),
        steer(encoder, study, edit, steps=(3, None)),
    ):
        for _ in range(3):
            encoder(acts)
    with steer(encoder, study, FeatureEdit.none(study), steps=(3, None)):
        encoder(acts)


def test_a_place_that_nothing_passed_is_told(study, edit, acts):
    pipeline = Pipeline()
    with (
        pytest.raises(UserError, match="Nothing passed the output of 'image_encoder'"),
        steer(pipeline, study, edit, path="image_encoder"),
    ):
        pass


@pytest.mark.usefixtures("any_types")
@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"path": "image_encoders"}, "no part 'image_encoders': did you mean 'image_encoder'"),
        ({"at": "embedd"}, "no method 'embedd'"),
        ({"half": "left"}, "half must be both, cond or uncond"),
        ({"modality": "vision"}, "modality must be image or text"),
        ({"rows": [1]}, "rows must be a slice"),
        ({"steps": (3, 1)}, "0 <= start < stop"),
        ({"calls_per_step": 0}, "at least 1"),
        ({"strength": []}, "at least one number"),
        ({"strength": float("nan")}, "must be a finite number, not nan"),
        ({"strength": [1, None]}, "must be a finite number, not None"),
        ({"strength": None}, "a number, one for each step, or a function"),
        ({"strength": "1"}, "a number, one for each step, or a function"),
        ({"steps": (0,)}, "whole numbers, not"),
        ({"steps": 3}, "whole numbers, not 3"),
        ({"steps": "ab"}, "whole numbers, not 'ab'"),
        ({"calls_per_step": 1.5}, "a whole number, at least 1, not 1.5"),
        ({"path": None}, "path must be a str, not None"),
        ({"at": None}, "at must be a str, not None"),
        ({"item": None}, "a number or a name, not None"),
    ],
)
def test_wrong_places_get_one_sentence(study, edit, where, told):
    with pytest.raises(UserError, match=told), steer(Pipeline(), study, edit, **where):
        pass


@pytest.mark.usefixtures("any_types")
def test_parts_of_another_kind_are_named(study, edit):
    wrong: Any
    for wrong, told in (((study, {}), "not a dict"), (("sae", edit), "a Study, .*, not a str")):
        with pytest.raises(UserError, match=told), steer(Encoder(), *wrong):
            pass
        with pytest.raises(UserError, match=told), edited(*wrong):
            pass
    wrong = "x"
    with pytest.raises(UserError, match="strength must be"), edited(study, edit, strength=wrong):
        pass


@pytest.mark.usefixtures("any_types")
def test_strengths_of_an_array_are_read_once(study, edit, acts):
    encoder = Encoder()
    for strengths in (np.array([1.0, 0.0]), torch.tensor([1.0, 0.0])):
        with steer(encoder, study, edit, strength=strengths.tolist()):
            expected = encoder(acts), encoder(acts)
        given: Any = strengths
        with steer(encoder, study, edit, strength=given):
            assert torch.equal(encoder(acts), expected[0])
            assert torch.equal(encoder(acts), expected[1])


@pytest.mark.usefixtures("any_types")
def test_vectors_of_another_width_are_told(study, edit):
    encoder = Encoder()
    with (
        pytest.raises(UserError, match=r"takes vectors of width|wide"),
        steer(encoder, study, edit),
    ):
        encoder(torch.ones(2, 7))
    name: Any = "unet"
    with pytest.raises(UserError, match="steer takes a module"), steer(name, study, edit):
        pass


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_modules(study, edit, acts, expected, dtype):
    encoder = Encoder().to(dtype)
    with steer(encoder, study, edit):
        out = encoder(acts.to(dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, atol=0.1, rtol=0.02)


def test_compiled_modules(study, edit, acts, expected):
    encoder = Encoder()
    compiled: Any = torch.compile(encoder, backend="eager")
    compiled(acts)
    with steer(compiled, study, edit):
        torch.testing.assert_close(compiled(acts), expected)
    assert torch.equal(compiled(acts), acts)
    pipeline: Any = torch.compile(Pipeline(), backend="eager")
    with (
        pytest.raises(UserError, match="compiled, and its parts see no hook"),
        steer(nn.Sequential(pipeline), study, edit, path="0._orig_mod.image_encoder"),
    ):
        pass


def test_the_host_never_waits_while_steering(study, edit, acts):
    encoder = Encoder()
    with (
        steer(encoder, study, edit, half="cond", rows=slice(0, 2)) as record,
        NoSynchronisation(),
        torch.no_grad(),
    ):
        encoder(acts)
    assert record.n_rows == 2 and record.mean_relative_norm > 0


def test_gradients_reach_the_input(study, edit, acts):
    encoder = Encoder()
    given = acts.clone().requires_grad_()
    with steer(encoder, study, edit, half="cond"):
        encoder(given).sum().backward()
    assert given.grad is not None and given.grad.abs().sum() > 0
