"""``mm-sae demo``: the list, one sentence for what cannot be, and a quiet end."""

import signal
import socket
import subprocess
import sys

import pytest

from mm_sae_plugin.cli import main
from mm_sae_plugin.demos import DEMOS
from tests.demos.started import answer_of, started_demo


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
    assert all(demo.name in line and demo.description in line for line, demo in listed)


def test_listing_imports_nothing_heavy():
    program = (
        "import sys; from mm_sae_plugin.cli import main; main(['demo'])\n"
        "sys.exit(any(name in sys.modules for name in ('gradio', 'torch', 'sae_lens')))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_what_cannot_be_is_a_sentence(capsys, monkeypatch, tmp_path):
    sae = ["--sae", str(tmp_path)]
    assert "no demo 'nothing': choose explorer." in told_by(capsys, "nothing")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert f"Port {port} is taken" in told_by(capsys, "explorer", *sae, "--port", port)
    assert "from 1 to 65535" in told_by(capsys, "explorer", *sae, "--port", "70000")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert 'pip install "mm_sae_plugin[demos]"' in told_by(capsys, "explorer", *sae)


@pytest.mark.parametrize(("how", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.slow
def test_it_ends_in_a_sentence(small_sae, how, status):
    with started_demo(small_sae) as (process, address):
        assert b"Explorer of latents" in answer_of(address)
        process.send_signal(getattr(signal, how))
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == status
    assert rest.strip() == "mm-sae: The demo has ended."
