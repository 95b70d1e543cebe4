"""A report shows pictures as the model saw them."""

import base64
import io
import re
from typing import cast

from PIL import Image

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.pairs import load_pairs
from mm_sae_plugin.report.thumbnails import Thumbnails
from mm_sae_plugin.stats.interfaces import PairedActivations
from tests.activations.tiny import tiny_clip


def test_thumbnails_have_the_background_and_the_orientation_of_the_extraction(tmp_path):
    picture = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "0.png", exif=exif)
    (tmp_path / "in" / "0.txt").write_text("a red square")
    source = load_pairs(tmp_path / "in", background="#0000ff")
    cfg = ExtractConfig(num_workers=0)
    extract(tiny_clip(), source, tmp_path / "s", cfg, progress=False)

    store = cast(PairedActivations, ActivationStore.open(tmp_path / "s"))
    address = Thumbnails(store).of(0).address or ""
    (data,) = re.findall(r"base64,(.+)", address)
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert shown.size == (20, 40)
    assert (shown.getpixel((10, 5)), shown.getpixel((10, 35))) == ((255, 0, 0), (0, 0, 255))
