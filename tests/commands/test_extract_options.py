"""``mm-sae extract``: how pictures and captions are read is an option, and said."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from mm_sae_plugin.activations import ActivationStore
from mm_sae_plugin.cli import main


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    drawing = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (5, 5, 20, 20))
    drawing.save(folder / "drawing.png")
    Image.new("RGB", (30, 30), "red").save(folder / "red.png")
    Image.new("RGB", (300, 300), "red").save(folder / "large.png")
    for name in ("drawing", "red", "large"):
        (folder / f"{name}.txt").write_bytes(f"a café of {name}".encode("cp1252"))
    return folder


def test_options_reach_the_store_and_what_looks_odd_is_said(tmp_path, pictures, capsys):
    out = tmp_path / "acts"
    options = ["--background", "grey", "--max-pixels", "10000", "--encoding", "cp1252"]
    options += ["--max-skipped", "0.5"]
    main(["extract", "--pairs", str(pictures), "--out", str(out), *options])
    said = capsys.readouterr().out
    assert "Pictures with transparent parts, laid on grey (--background): 1." in said
    assert "Pictures of one single colour, on which nothing shows: 1." in said
    assert "large.png: 300×300 pixels" in said and "--max-pixels 10000" in said
    store = ActivationStore.open(out)
    assert store.captions == ["a café of drawing", "a café of red"]
    shown = store.open_image(0)
    assert shown is not None and shown.getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--background", "whiteish"], "whiteish"),
        (["--max-pixels", "0"], "max_pixels must be at least 1"),
        (["--encoding", "latin-99"], "latin-99"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, pictures, capsys, option, message):
    with pytest.raises(SystemExit) as stopped:
        main(["extract", "--pairs", str(pictures), "--out", str(tmp_path / "acts"), *option])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error and len(error.splitlines()) == 1


def test_too_many_skipped_is_status_2_and_a_rerun_goes_on(tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = ["image,caption"]
    for i in range(10):
        lines.append(f"{i}.png,{'a red cup on a table ' * 20 * (i % 2)}number {i}")
    (folder / "captions.csv").write_text("\n".join(lines))
    for i in range(2):
        Image.effect_noise((30, 30), 50 + i).save(folder / f"{i}.png")
    command = ["extract", "--pairs", str(folder), "--out", str(tmp_path / "acts")]
    with pytest.raises(SystemExit) as stopped:
        main(command)
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "8 of 10 pairs" in error and "2.png: no such file" in error and "anew" in error
    for i in range(2, 10):
        Image.effect_noise((30, 30), 50 + i).save(folder / f"{i}.png")
    main(command)
    captured = capsys.readouterr()
    assert "10 images and 10 pairs" in captured.out
    assert "mm-sae: warning: 5 of 10 captions are longer than the" in captured.err
    assert ActivationStore.open(tmp_path / "acts").image_ids == [f"{i}.png" for i in range(10)]


def test_workers_of_ray_are_counted_with_ray_only(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["extract", "--pairs", "factorworld:9", "--out", str(tmp_path), "--n-workers", "2"])
    assert stopped.value.code == 2
    assert "give --engine ray too" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "kept"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_sleep_while_they_wait_unless_told_otherwise(monkeypatch, given, kept):
    # Set in any case, so that what the command sets goes away again.
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    with pytest.raises(SystemExit):
        main(["extract", "--pairs", "nowhere.csv", "--out", "acts"])
    assert os.environ["OMP_WAIT_POLICY"] == kept


def test_torch_is_not_loaded_before_a_command_runs():
    # It reads its environment when it is.
    code = "import sys, mm_sae_plugin.cli; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
