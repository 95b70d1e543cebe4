"""What a report says of its data, from a real store and a real SAE."""

import re

import numpy as np
import pytest
from PIL import Image

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.pairs import load_pairs
from mm_sae_plugin.report.provenance import provenance
from mm_sae_plugin.report.write import write_report
from mm_sae_plugin.study import Study
from mm_sae_plugin.training import MultimodalSAERunnerConfig, MultimodalSAETrainingRunner
from tests.activations.tiny import tiny_clip

N_PICTURES = 24


def _study(tmp_path, n_with_alpha: int, n_one_colour: int, background: str = "white") -> Study:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(N_PICTURES):
        pixels = rng.integers(0, 256, (20, 20, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        if i < n_with_alpha:
            pixels[:5, :, 3] = 0
        elif i < n_with_alpha + n_one_colour:
            pixels[..., :3] = 7
        Image.fromarray(pixels).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"picture {i}")
    cfg = ExtractConfig(batch_size=8, num_workers=0)
    pairs = load_pairs(folder, background=background)
    store = extract(tiny_clip(), pairs, tmp_path / "acts", cfg, progress=False)
    training = MultimodalSAERunnerConfig(
        out=tmp_path / "sae", d_sae=16, k=4, training_steps=20, train_batch_size_samples=16
    )
    MultimodalSAETrainingRunner(training, store).run()
    return Study.open(tmp_path / "sae", store)


def test_transparent_and_empty_pictures_are_counted_on_the_page(tmp_path):
    study = _study(tmp_path, n_with_alpha=3, n_one_colour=2, background="teal")
    page = write_report(study, study.label(), tmp_path / "report.html").read_text("utf-8")
    told = dict(re.findall(r"<dt>(.*?)</dt><dd><bdi>(.*?)</bdi></dd>", page))
    assert told["pictures with transparent parts"] == "3, laid on teal"
    assert told["pictures of one single colour"] == "2, on which nothing shows"


@pytest.mark.parametrize(("n_with_alpha", "n_one_colour"), [(0, 0), (0, 1)])
def test_what_does_not_occur_is_not_spoken_of(tmp_path, n_with_alpha, n_one_colour):
    study = _study(tmp_path, n_with_alpha, n_one_colour)
    study.label()
    odd = {name for name in provenance(study)["Data"] if name.startswith("pictures")}
    assert odd == ({"pictures of one single colour"} if n_one_colour else set())
