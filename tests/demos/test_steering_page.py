"""The steering page through its endpoints, on an untrained generator."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("diffusers")

from mm_sae_plugin.applications.steering import Gallery, mix
from mm_sae_plugin.demos.common.manifest import picture_hash
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.study import Study

PROMPT = "two big red cars left"
NO_SLIDERS = (1.0,) * 6
_PNG = re.compile(r'base64,([^"]+)" alt="([^"]+)"')


@pytest.fixture(scope="module")
def client(steering):
    from gradio_client import Client

    client = Client(steering.address, verbose=False)
    yield client
    client.close()


@pytest.fixture
def study(steering) -> Study:
    return steering.painter.study


@pytest.fixture
def reference(study, tmp_path) -> Path:
    study.store.open_image(9).save(tmp_path / "reference.png")
    return tmp_path / "reference.png"


def edit_fields(reference, alphas=(0.0, 0.0, 1.0), norm="", preset=None):
    """The controls of the edit, in the order of the endpoints."""
    from gradio_client import handle_file

    files = [None if path is None else handle_file(str(path)) for path in (reference, preset)]
    return (files[0], *alphas, norm, files[1], *NO_SLIDERS)


def draw(client, *fields, prompt=PROMPT, seed: int | None = 0, window=(0, 12)):
    """Draw with the seed kept; returns what the page shows in the end."""
    job = client.submit(prompt, seed, True, *window, *fields, api_name="/draw")
    job.result()
    *shown, manifest, preset = job.outputs()[-1]
    # What does not change with the last step was told before.
    seeds = [output[3] for output in job.outputs() if isinstance(output[3], int)]
    return *shown[:-1], seeds[-1], manifest["value"], preset["value"]


def pictures(html):
    return [
        (np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), alt)
        for data, alt in _PNG.findall(html)
    ]


def is_clean(painter) -> bool:
    parts = (painter.denoiser, painter.pipeline.prior_prior)
    return not any(module._forward_pre_hooks for part in parts for module in part.modules())


def test_the_page_draws_what_a_script_draws(client, steering, study, reference):
    pair, status, panel, seed, manifest, preset = draw(client, *edit_fields(reference), seed=5)
    (before, alt), (after, edited_alt) = pictures(pair)
    assert PROMPT in alt and alt.endswith("as it is") and edited_alt.endswith("with the edit")
    edit = mix(study, {"CrossD": 1.0}, image=reference)
    expected = steering.painter.paint(PROMPT, 5, edit)
    assert np.array_equal(before, np.asarray(steering.painter.paint(PROMPT, 5).picture))
    assert np.array_equal(after, np.asarray(expected.picture)) and not np.array_equal(before, after)
    assert "Drawn with seed 5" in status and seed == 5
    assert f"<b>{expected.moved:.2f}</b>" in panel
    assert all(f"#{latent} " in panel for latent, _ in expected.latents)
    asked = len(PROMPT.split())
    assert f"Of {asked} things that the prompt asks for" in panel and "<td>red</td>" in panel
    assert "<th scope='col'>reference</th>" in panel
    told = json.loads(Path(manifest).read_text())
    assert (told["seed"], told["asked"]["prompt"]) == (5, PROMPT)
    assert told["asked"]["reference_sha256"] == picture_hash(Image.open(reference).convert("RGB"))
    assert told["asked"]["strengths"] == {"ImgD": 0.0, "TextD": 0.0, "CrossD": 1.0}
    assert told["asked"]["pipeline"]["settings"]["num_inference_steps"] == 12
    assert told["asked"]["pipeline"].items() >= steering.painter.identity.items()
    assert FeatureEdit.load(preset, study) == edit == FeatureEdit.from_dict(told["edit"])


def test_every_step_is_told_on_the_way(client, reference):
    job = client.submit(PROMPT, 1, True, 0, 12, *edit_fields(reference), api_name="/draw")
    job.result()
    said = [output[1] for output in job.outputs() if isinstance(output[1], str)]
    for what in ("Drawing it as it is", "Editing"):
        steps = [int(n) for line in said for n in re.findall(rf"{what}: step (\d+) of 24", line)]
        assert steps == list(range(1, 25))


def test_a_preset_is_done_first_and_a_norm_holds_for_all(client, steering, study, reference):
    preset = draw(client, *edit_fields(reference))[-1]
    off = edit_fields(None, (0.0, 0.0, 0.0), norm="0.25", preset=preset)
    _, _, panel, _, _, kept = draw(client, *off)
    assert "<b>0.25</b>" in panel
    edit = FeatureEdit.load(kept, study)
    assert edit.with_relative_norm(None) == FeatureEdit.load(preset, study)
    assert edit.relative_norm == 0.25
    # The norm of a preset stays where none is given.
    pair, *_, again = draw(client, *edit_fields(None, (0.0, 0.0, 0.0), preset=kept))
    assert FeatureEdit.load(again, study) == edit
    script = np.asarray(steering.painter.paint(PROMPT, 0, edit).picture)
    assert np.array_equal(pictures(pair)[1][0], script)


def test_latents_are_found_and_stacked(client, study, reference):
    found = client.predict("two red cars", api_name="/find_latents")
    numbers = [value for _, value in found["choices"]]
    assert numbers == [one.latent for one in study.latents_of(text="two red cars", top=8)]
    by_number = client.predict("#7", api_name="/find_latents")
    assert [value for _, value in by_number["choices"]] == [7]
    first, second = numbers[:2]
    client.predict("two red cars", api_name="/find_latents")
    sliders = client.predict([first, second], *NO_SLIDERS, api_name="/stack")
    assert [slider["visible"] for slider in sliders] == [True, True] + [False] * 4
    assert sliders[0]["label"].startswith(f"#{first} ")
    assert sliders[0]["label"].endswith("typical activations added")
    fields = (*edit_fields(None, (0.0, 0.0, 0.0))[:-6], 1.5, -0.5, 1.0, 1.0, 1.0, 1.0)
    *_, preset = draw(client, *fields)
    assert FeatureEdit.load(preset, study) == mix(study, {}, latents={first: 1.5, second: -0.5})
    # One that is taken out and put in again keeps its place in the list, not its strength.
    sliders = client.predict([second], 1.5, -0.5, 1, 1, 1, 1, api_name="/stack")
    assert sliders[0]["value"] == -0.5
    with pytest.raises(Exception, match="At most 6 latents"):
        client.predict([*numbers[:7]], *NO_SLIDERS, api_name="/stack")
    with pytest.raises(Exception, match="no latent 64"):
        client.predict("64", api_name="/find_latents")
    # A field that was emptied is told of, also where its slider was given another name.
    with pytest.raises(Exception, match=rf"strength of latent {second} .* is empty"):
        draw(client, *edit_fields(None, (0.0, 0.0, 0.0))[:-6], None, 1.0, 1.0, 1.0, 1.0, 1.0)
    client.predict([], *NO_SLIDERS, api_name="/stack")


def test_a_sweep_fills_a_grid(client, steering, study, reference):
    job = client.submit(PROMPT, 0, 0, 12, *edit_fields(reference), api_name="/sweep")
    job.result()
    grids = [output[0] for output in job.outputs() if isinstance(output[0], str)]
    # What stood there before goes first.
    assert [grid.count("<figure>") for grid in grids] == [0, 1, 2, 3, 4, 5, 6]
    drawn = pictures(grids[-1])
    edit = mix(study, {"CrossD": 1.0}, image=reference)
    for (shown, alt), strength in ((drawn[0], 0.0), (drawn[-1], 1.5)):
        script = steering.painter.paint(PROMPT, 0, edit, strength=strength)
        assert np.array_equal(shown, np.asarray(script.picture))
        assert f"{strength:g} times the edit" in alt
        assert f" as asked\n|Δe| / |e| {script.moved:.2f}<" in grids[-1]


def test_a_search_is_steered_by_the_same_edit(client, study, reference):
    html, _, manifest = client.predict("a blue cup", *edit_fields(reference), api_name="/rerank")
    manifest = manifest["value"]
    edit = mix(study, {"CrossD": 1.0}, image=reference)
    found = Gallery(study).rerank(edit, text="a blue cup")
    assert found.before != found.after
    for one in found.before:
        assert f"<figcaption>{one.rank}: {one.similarity:.3f}</figcaption>" in html
    for one in found.after:
        was = "stays" if one.rank == one.rank_before else f"was {one.rank_before:,}"
        assert f"{one.rank}: {one.similarity:.3f}\n{was}<" in html
    shown = pictures(html)
    assert len(shown) == 24 and shown[0][1] in study.store.captions
    assert f"<b>{found.moved:.2f}</b>" in html
    told = json.loads(Path(manifest).read_text())
    assert told["asked"]["query"] == "a blue cup"
    assert told["store"]["key"] == study.store.manifest.key


def test_what_cannot_be_is_a_sentence_and_the_demo_goes_on(
    client, steering, study, reference, tmp_path
):
    (tmp_path / "text.png").write_text("no picture")
    other = FeatureEdit.none(study).to_dict() | {"sae_id": "another"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    (tmp_path / "text.json").write_text("no json")
    off = (0.0, 0.0, 0.0)
    assert not study.labels.latents("ImgD")
    for fields, message in (
        (edit_fields(reference, (1.0, 0.0, 0.0)), "No latent of .* is ImgD"),
        (edit_fields(None), "there is none: choose, upload or draw one"),
        (edit_fields(tmp_path / "text.png"), "The picture cannot be used: not an image"),
        (edit_fields(reference, preset=tmp_path / "other.json"), "of the SAE another, and"),
        (edit_fields(reference, preset=tmp_path / "text.json"), "text.json is no preset"),
        (edit_fields(reference, (0.0, 0.0, None)), "CrossD must be a finite number, and is empty"),
        (edit_fields(reference, norm="inf"), "must be a finite number, and is inf"),
        (edit_fields(reference, norm="nan"), "must be a finite number, and is nan"),
        (edit_fields(reference, norm="-1"), "e\\| must be 0 or more, and is -1"),
        (edit_fields(reference, norm="far"), "far.* is no"),
    ):
        with pytest.raises(Exception, match=message):
            draw(client, *fields)
        with pytest.raises(Exception, match=message):
            client.predict("a cup", *fields, api_name="/rerank")
    with pytest.raises(Exception, match="The last step must be a finite number, and is empty"):
        draw(client, *edit_fields(None, off), window=(0, None))
    with pytest.raises(Exception, match="window from step 5 to step 5 is empty"):
        draw(client, *edit_fields(None, off), window=(5, 5))
    with pytest.raises(Exception, match="seed must be a whole number"):
        draw(client, *edit_fields(None, off), seed=None)
    with pytest.raises(Exception, match="The prompt is empty"):
        draw(client, *edit_fields(None, off), prompt=" ")
    assert is_clean(steering.painter)
    assert "Drawn with seed 0" in draw(client, *edit_fields(reference))[1]


def test_out_of_memory_is_a_sentence(client, steering, reference):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = steering.painter.denoiser.register_forward_hook(fail)
    try:
        with pytest.raises(Exception, match="memory did not suffice"):
            draw(client, *edit_fields(reference), seed=77)
    finally:
        hook.remove()
    assert is_clean(steering.painter)
    assert "Drawn with seed 77" in draw(client, *edit_fields(reference), seed=77)[1]
