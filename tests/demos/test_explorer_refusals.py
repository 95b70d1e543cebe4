"""SAEs that the explorer cannot show, or shows and cannot edit."""

import json
import re
import shutil

import pytest
from PIL import Image

from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.errors import UserError
from tests.labelled import labelled_sae

_CAPTION = "two red cars"


@pytest.fixture(scope="module")
def normalised_sae(tmp_path_factory):
    return labelled_sae(
        tmp_path_factory.mktemp("normalised"),
        300,
        d_sae=32,
        k=4,
        training_steps=40,
        normalize="per_modality_center_scale",
    )


def test_an_sae_without_labels_or_store(small_sae, tmp_path):
    unlabelled = shutil.copytree(small_sae, tmp_path / "unlabelled")
    for name in ("modality.safetensors", "modality.parquet"):
        (unlabelled / name).unlink()
    with pytest.raises(UserError, match=r"run `mm-sae mds` on this SAE first\.$"):
        DEMOS["explorer"].build(DemoOptions(unlabelled))
    alone = shutil.copytree(small_sae, tmp_path / "alone")
    with pytest.raises(UserError, match=r"store of .* was not found"):
        DEMOS["explorer"].build(DemoOptions(alone))
    # What the sentence says helps.
    assert DEMOS["explorer"].build(DemoOptions(alone, small_sae.parent / "acts"))


def _read_and_refused(address, tmp_path, message):
    """Its pages can be read, and what cannot be done is one sentence."""
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False)
    _, _, page, _, pairs, removal = client.predict(0, False, api_name="/latent")
    assert "Latent 0" in page
    assert re.search(message if pairs["value"] is not None else "fires on no pair", removal)
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "card.png")
    asked = (handle_file(str(tmp_path / "card.png")), _CAPTION, "", "0", "times their activation")
    with pytest.raises(Exception, match="Compare a picture and a caption first"):
        client.predict(0, 1, 1, 1, 1, 1, api_name="/edit")
    client.predict(*asked, None, api_name="/compare")
    with pytest.raises(Exception, match=message):
        client.predict(0, 1, 1, 1, 1, 1, api_name="/edit")
    assert client.predict(_CAPTION, api_name="/latents_of_caption")["data"]
    client.close()


def test_an_sae_behind_normalisation(serve, normalised_sae, tmp_path):
    address = serve(DEMOS["explorer"].build(DemoOptions(normalised_sae)))
    _read_and_refused(address, tmp_path, r"normalised by .*center_scale.*: fold it in first")


def test_a_transcoder(serve, small_sae, tmp_path):
    transcoder = shutil.copytree(small_sae.parent, tmp_path / "transcoder") / small_sae.name
    (transcoder / "checksums.json").unlink()
    cfg = json.loads((transcoder / "cfg.json").read_text())
    cfg["metadata"]["hook_name_out"] = "vision.hook_pooled"
    (transcoder / "cfg.json").write_text(json.dumps(cfg))
    address = serve(DEMOS["explorer"].build(DemoOptions(transcoder)))
    _read_and_refused(address, tmp_path, "This is a transcoder from")
