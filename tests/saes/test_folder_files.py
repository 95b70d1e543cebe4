import json

import pytest
import sae_lens.constants as sae_lens_names

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import folder_files as files
from tests.saes.tiny import tiny_sae


def test_names_are_those_of_sae_lens():
    assert files.CFG_FILENAME == sae_lens_names.SAE_CFG_FILENAME
    assert files.WEIGHTS_FILENAME == sae_lens_names.SAE_WEIGHTS_FILENAME
    assert files.SPARSITY_FILENAME == sae_lens_names.SPARSITY_FILENAME
    assert files.RUNNER_CFG_FILENAME == sae_lens_names.RUNNER_CFG_FILENAME
    assert files.SCALER_FILENAME == sae_lens_names.ACTIVATION_SCALER_CFG_FILENAME
    assert files.WHITENING_FILENAME == sae_lens_names.ACTIVATION_WHITENING_FILENAME
    assert files.TRAINER_STATE_FILENAME == sae_lens_names.TRAINER_STATE_FILENAME


def test_all_that_was_written_beside_an_sae_goes_and_nothing_else(tmp_path):
    tiny_sae().save_model(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    # A kind of file that nobody has told the folder of.
    with files.written(tmp_path, "interventions.json"):
        (tmp_path / "interventions.json").write_text("{}")
    # As older versions left them.
    for name in files.DERIVED:
        (tmp_path / name).touch()
    files.remove_derived(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"cfg.json", "sae_weights.safetensors", "notes.txt", "checksums.json"}


def test_names_that_lead_out_of_the_folder_are_not_followed(tmp_path):
    outside = tmp_path / "precious"
    outside.touch()
    folder = tmp_path / "sae"
    folder.mkdir()
    (folder / "checksums.json").write_text(json.dumps({"../precious": "0"}))
    files.remove_derived(folder)
    assert outside.exists()


def test_a_flipped_bit_is_named(tmp_path):
    tiny_sae().save_model(tmp_path)
    names = ("cfg.json", "sae_weights.safetensors")
    with files.written(tmp_path, *names):
        pass
    files.check_files(tmp_path, *names)
    for name in names:
        path = tmp_path / name
        whole = path.read_bytes()
        spoilt = bytearray(whole)
        # In the config a digit of a number, so that it stays JSON.
        at = whole.index(b"16") if name == "cfg.json" else len(whole) - 5
        spoilt[at] ^= 1
        path.write_bytes(spoilt)
        with pytest.raises(UserError, match=rf"{name} is not as it was written"):
            files.check_files(tmp_path, *names)
        path.write_bytes(whole)
    (tmp_path / "sae_weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"sae_weights\.safetensors is missing"):
        files.check_files(tmp_path, *names)


def test_labels_come_and_go_without_touching_the_rest_of_the_config(tmp_path):
    tiny_sae().save_model(tmp_path)
    path = tmp_path / "cfg.json"
    with files.written(tmp_path, "cfg.json"):
        pass
    content = json.loads(path.read_text())
    content["metadata"]["modality"] = {"classes": "ITC"}
    path.write_text(json.dumps(content, indent=3))
    # Not recorded: a version without checksums wrote them.
    files.check_files(tmp_path, "cfg.json", files.LABEL_RECORD)
    with files.written(tmp_path, files.LABEL_RECORD):
        pass
    path.write_text(path.read_text().replace("ITC", "IIC"))
    files.check_files(tmp_path, "cfg.json")
    with pytest.raises(UserError, match=r"cfg\.json: metadata\.modality is not as it was written"):
        files.check_files(tmp_path, files.LABEL_RECORD)


def test_a_failed_write_leaves_no_wrong_checksum(tmp_path):
    path = tmp_path / "evaluation.json"
    with files.written(tmp_path, path.name):
        path.write_text("1")

    def half():
        with files.written(tmp_path, path.name):
            path.write_text("2")
            raise OSError("cut off")

    with pytest.raises(OSError, match="cut off"):
        half()
    files.check_files(tmp_path, path.name)


def test_damaged_checksums_are_named(tmp_path):
    (tmp_path / "checksums.json").write_text("[")
    with pytest.raises(UserError, match=r"checksums\.json cannot be read"):
        files.check_files(tmp_path, "cfg.json")
