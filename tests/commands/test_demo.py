"""``mm-sae demo``: the list, one sentence for what cannot be, and a quiet end."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mm_sae_plugin.cli import main
from mm_sae_plugin.commands import demo
from mm_sae_plugin.demos import DEMOS
from mm_sae_plugin.study import Study
from tests.demos.started import answer_of, started_demo
from tests.labelled import sae_of_empty_files


def told_by(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *argv])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


def test_alone_it_lists_them(capsys):
    main(["demo"])
    lines = capsys.readouterr().out.splitlines()
    listed = zip(lines[:-1], DEMOS.values(), strict=True)
    assert all(one.name in line and one.description in line for line, one in listed)


def test_listing_imports_nothing_heavy():
    program = (
        "import sys; from mm_sae_plugin.cli import main; main(['demo'])\n"
        "sys.exit(any(name in sys.modules for name in ('gradio', 'torch', 'sae_lens')))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_what_cannot_be_is_a_sentence(capsys, monkeypatch, tmp_path):
    sae = ["--sae", str(sae_of_empty_files(tmp_path / "sae"))]
    assert "no demo 'nothing': choose explorer, steering, bias or defense." in told_by(
        capsys, "nothing"
    )
    told = told_by(capsys, "explorer", *sae, "--pipeline", "folder")
    assert "draws no pictures: --pipeline is for steering." in told
    told = told_by(capsys, "explorer", *sae, "--beside", "folder")
    assert "shows one SAE: --beside is for bias." in told
    told = told_by(capsys, "explorer", *sae, "--robustness", "file")
    assert "shows no evaluation: --robustness is for defense." in told
    assert "gone is not an SAE folder" in told_by(capsys, "defense", "--sae", "gone")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert f"Port {port} is taken" in told_by(capsys, "explorer", *sae, "--port", port)
    assert "from 1 to 65535" in told_by(capsys, "explorer", *sae, "--port", "70000")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert 'pip install "mm_sae_plugin[demos]"' in told_by(capsys, "explorer", *sae)


def test_a_folder_without_an_sae_is_a_sentence(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["demo", "explorer", "--sae", str(tmp_path), "--no-browser"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert str(tmp_path) in told and told.count("\n") == 1


@pytest.mark.slow
def test_without_an_sae_the_quickstart_comes_first(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    sae = demo._quickstart_sae()
    assert "there is none in runs/quickstart yet" in capsys.readouterr().out
    assert Study.open(sae).labels.n_features == 512
    made = (sae / "cfg.json").stat().st_mtime_ns
    assert demo._quickstart_sae() == sae
    assert (sae / "cfg.json").stat().st_mtime_ns == made
    assert capsys.readouterr().out == ""


def test_the_bias_demo_takes_two_of_what_the_quickstart_makes(monkeypatch):
    made = {}

    def make(**settings):
        out = settings.get("out", Path("runs/quickstart"))
        made[out] = settings.get("model", "factorworld")
        return out / "sae"

    monkeypatch.setattr(demo, "_quickstart_sae", make)
    plain, biased = Path("runs/quickstart/sae"), Path("runs/quickstart-biased/sae")
    own, other = Path("own"), Path("other")
    cases: tuple[tuple[str, dict[str, Any], Any], ...] = (
        ("bias", {}, (plain, biased)),
        ("bias", {"sae": own}, (own, None)),
        ("bias", {"sae": own, "beside": other}, (own, other)),
        ("bias", {"beside": other}, (plain, other)),
        ("explorer", {}, (plain, None)),
        ("defense", {"sae": own}, (own, None)),
    )
    for name, given, folders in cases:
        assert demo.DemoCommand(name, **given)._folders(DEMOS[name]) == folders
    assert made == {plain.parent: "factorworld", biased.parent: "factorworld-biased"}
    made.clear()
    # The defense demo does without, and makes none.
    assert demo.DemoCommand("defense")._folders(DEMOS["defense"]) == (plain, None) and not made


@pytest.mark.parametrize(("how", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.slow
def test_it_ends_in_a_sentence(small_sae, how, status):
    with started_demo(small_sae) as (process, address):
        assert b"Explorer of latents" in answer_of(address)
        process.send_signal(getattr(signal, how))
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == status
    assert rest.strip() == "mm-sae: The demo has ended."
