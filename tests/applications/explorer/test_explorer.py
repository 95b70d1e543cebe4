"""The table, search and pages agree with the codes themselves."""

import shutil

import numpy as np
import pytest
import torch

from mm_sae_plugin import Study, UserError
from mm_sae_plugin.applications.explorer import Explorer, explorer as module
from mm_sae_plugin.stats.examples import first_of_caption


@pytest.fixture(scope="module")
def codes(study):
    image = study.feature_map.encode(study.store.image_rows(), "image")
    return image, study.feature_map.encode(study.store.text_rows(), "text")


@pytest.fixture(scope="module")
def latent(codes) -> int:
    """One that fires often on both sides."""
    return int(torch.minimum(*((side > 0).sum(0) for side in codes)).argmax())


def test_examples_are_those_of_the_codes(explorer, codes, latent):
    of_image, of_text = (side[:, latent] for side in codes)
    page = explorer.page(latent)
    best = of_image.sort(descending=True, stable=True)
    assert [x.image for x in page.top_images] == best.indices[:12].tolist()
    np.testing.assert_allclose([x.activation for x in page.top_images], best.values[:12])
    faint = of_image[of_image > 0].sort().values[:8]
    np.testing.assert_allclose([x.activation for x in page.faint_images], faint)
    for side, examples in (
        (of_image, (*page.random_images, *page.image_alone)),
        (of_text, (*page.random_captions, *page.caption_alone, *page.top_captions)),
    ):
        for x in examples:
            row = x.image if side is of_image else x.pair
            assert x.activation > 0
            assert float(side[row]) == pytest.approx(x.activation, rel=1e-5)
    index = explorer.study.store.image_index
    for x in page.image_alone:
        assert of_text[x.pair] == 0 and int(index[x.pair]) == x.image
    for x in page.caption_alone:
        assert of_image[index[x.pair]] == 0
    assert page.image_alone or page.caption_alone


def test_histograms_count_what_fires(explorer, codes, latent):
    page = explorer.page(latent)
    of_image = codes[0][:, latent]
    of_text = codes[1][first_of_caption(explorer.study.store.captions), latent]
    for histogram, side in (
        (page.image_histogram, of_image),
        (page.caption_histogram, of_text),
    ):
        fires = side[side > 0].numpy()
        edges = [*histogram.edges[:-1], np.inf]
        assert sum(histogram.counts) == len(fires) > 0
        np.testing.assert_array_equal(np.histogram(fires, edges)[0], histogram.counts)


def test_a_page_tells_what_the_labels_tell(explorer, latent):
    labels, page = explorer.study.labels, explorer.page(latent)
    assert page.modality_class == labels.classes[latent]
    assert page.partner == labels.partner_of(latent)
    carried = page.scores["carried"]
    assert carried.value == pytest.approx(float(labels.scores[latent]), nan_ok=True)
    assert [carried.low, carried.high] == pytest.approx(labels.intervals[latent].tolist())
    assert set(page.scores) >= {"carried", "mean_of_ratios", "frequency"}
    name, low, high = page.swap_null
    assert name == "mean_of_ratios" and low < 0.5 < high
    directions = torch.nn.functional.normalize(explorer.study.feature_map.directions, dim=1)
    cosine = directions @ directions[latent]
    cosine[latent] = -1
    assert page.nearest[0].latent == int(cosine.argmax())
    assert page.nearest[0].cosine == pytest.approx(float(cosine.max()), rel=1e-5)


def test_names_speak_of_what_latents_follow(explorer):
    accuracy = explorer.name_accuracy
    assert accuracy is not None and accuracy.n >= 30
    assert accuracy.right >= 0.95 * accuracy.n
    assert accuracy.one_word >= 0.7 * accuracy.n
    assert 0 < accuracy.right_by_embedding <= accuracy.n_seen
    table = explorer.table
    assert len(table) == 192 and list(table["latent"]) == list(range(192))
    by_captions = table[table["named_by"] == "captions"]
    assert (by_captions["raised_at_least"] <= by_captions["raised_by"]).all()
    assert set(table["named_by"]) <= {"captions", "images", ""}
    assert (table[table["named_by"] == "images"]["class"] == "ImgD").all()


def test_latents_are_found_by_what_is_typed_and_shown(explorer):
    found = explorer.search(text="yellow", top=3)
    assert list(found["activation"]) == sorted(found["activation"], reverse=True)
    assert "yellow" in " ".join(found["name"])
    picture = explorer.study.store.open_image(3)
    (first,) = explorer.search(image=picture, top=1)["latent"]
    assert first == explorer.study.latents_of(image=picture, top=1)[0].latent


def test_what_is_kept_is_read_back_and_made_anew_when_stale(
    folder, explorer, tmp_path, monkeypatch
):
    shutil.copytree(folder, tmp_path / "moved")
    opened = Explorer.open(Study.open(folder / "sae"))
    assert opened.table.equals(explorer.table)

    made = []
    build = module.build
    monkeypatch.setattr(module, "build", lambda *given: made.append(1) or build(*given))
    moved = tmp_path / "moved/sae"
    again = Explorer.open(Study.open(moved))
    assert not made and again.page(5).top_images == explorer.page(5).top_images
    study = Study.open(moved)
    study.label(type(study.labels.cfg)(score="frequency"))
    assert "frequency" in Explorer.open(study).table and len(made) == 1
    # Damaged, or cut off.
    path = moved / "explorer.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    Explorer.open(study)
    Explorer.open(study)
    assert len(made) == 2
    assert not list(moved.glob("*.partial"))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda e: e.page(192), "There is no latent 192: this SAE has 192, numbered from 0 to 191"),
        (lambda e: e.page(-1), "There is no latent -1"),
        (lambda e: e.page("x"), "given by its number, not 'x'"),
        (lambda e: e.search(text="  "), "The caption is empty"),
        (lambda e: e.search(), "Give one picture"),
        (lambda e: e.search(image="none.png"), "no such file"),
        (lambda e: Explorer.open(e), "Give a Study"),
    ],
)
def test_what_cannot_be_answered_gets_a_sentence(explorer, any_types, ask, message):
    with pytest.raises(UserError, match=message):
        ask(explorer)
