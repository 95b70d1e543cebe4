"""The README's Python runs as it stands, in an empty folder."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_every_piece_of_python_runs_in_order(tmp_path):
    pieces = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(pieces) >= 4
    # The same steps on fewer pairs and steps: what is tested is that they run.
    code = "\n".join(pieces).replace("factorworld:2000", "factorworld:1000")
    code = code.replace("k=16)", "k=16, training_steps=600)")
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ImgD" in done.stdout


def test_linked_files_exist():
    text = README.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall(
        r"`(mm_sae_plugin/[^`]*)`", text
    )
    assert links
    for link in links:
        assert (README.parent / link).exists(), link


def test_the_commands_write_to_folders_that_the_python_has_not_filled():
    text = README.read_text(encoding="utf-8")
    python, commands = (
        "\n".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))
        for language in ("python", "bash")
    )
    filled = set(re.findall(r'"(runs/[^"]+)"', python))
    written = set(re.findall(r"--out (runs/\S+)", commands))
    assert len(filled) >= 2 and len(written) >= 2
    assert not filled & written
    # What a command reads, one before it wrote; the quickstart has a folder of its own.
    assert "mm-sae quickstart" in commands
    read = set(re.findall(r"--(?:acts|sae) (\S+)", commands))
    made = {f"{folder}/sae" for folder in (*written, "runs/quickstart")}
    assert read <= written | made
