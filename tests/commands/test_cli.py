"""The command line on the embedded world: every step, and one clear line for wrong input."""

import json
import subprocess
import sys
import time

import pytest

from mm_sae_plugin.cli import main
from tests.labelled import sae_of_empty_files


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Run extract, train, mds and report once on a few pairs written as files."""
    folder = tmp_path_factory.mktemp("job")
    main(["world", "--out", str(folder / "world"), "--pairs", "300"])
    table, acts, sae = folder / "world/captions.csv", folder / "acts", folder / "sae"
    main(["extract", "--pairs", str(table), "--out", str(acts)])
    steps = ["--training-steps", "60", "--train-batch-size-samples", "128"]
    main(
        ["train", "--acts", str(acts), "--arch", "topk", "--d-sae", "64", "--out", str(sae), *steps]
    )
    main(["mds", "--sae", str(sae), "--acts", str(acts), "--rule", "interval"])
    report = folder / "report.html"
    main(["report", "--sae", str(sae), "--acts", str(acts), "--out", str(report)])
    return folder


@pytest.mark.parametrize("verb", ["mds", "report", "explain", "demo explorer"])
def test_a_mistyped_sae_need_not_wait_for_imports(verb):
    assert _refused_at_once(verb, "--sae", "gone").startswith("mm-sae: gone is not an SAE folder")


@pytest.mark.parametrize("verb", ["mds", "train", "demo explorer"])
def test_a_mistyped_store_need_not_wait_for_imports(verb, tmp_path):
    of = (
        ["--out", "sae"]
        if verb == "train"
        else ["--sae", str(sae_of_empty_files(tmp_path / "sae"))]
    )
    told = _refused_at_once(verb, *of, "--acts", "gone")
    assert told.startswith("mm-sae: gone is no activation store: there is no such folder")


def _refused_at_once(verb: str, *args: str) -> str:
    """Return what a command says that ends before PyTorch is imported."""
    program = (
        "import sys; from mm_sae_plugin.cli import main\n"
        f"try: main({[*verb.split(), *args]})\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_steps_leave_a_labelled_sae_and_a_report(job):
    cfg = json.loads((job / "sae/cfg.json").read_text())
    modality = cfg["metadata"]["modality"]
    assert len(modality["classes"]) == 64
    assert modality["rule"] == "interval"
    assert modality["n_pairs"] == 300
    page = (job / "report.html").read_text()
    assert "<svg" in page
    assert "data:image/" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_the_report_says_where_it_comes_from_and_shows_the_latents_asked_for(job, tmp_path):
    import re

    page = tmp_path / "page.html"
    folders = ["--sae", str(job / "sae"), "--acts", str(job / "acts")]
    main(["report", *folders, "--out", str(page), "--latents", "12,7"])
    # Names may break behind an underscore.
    source = page.read_text().replace("<wbr>", "")
    assert re.findall(r'id="latent-(\d+)"', source) == ["12", "7"]
    told = dict(re.findall(r"<dt>(.*?)</dt><dd><bdi>(.*?)</bdi></dd>", source))
    manifest = json.loads((job / "acts/manifest.json").read_text())
    assert told["pairs"] == str(job / "world/captions.csv")
    assert told["store key"] == told["trained on store"] == manifest["key"]
    assert told["weights"] == manifest["weights_id"]
    # From runner_cfg.json.
    assert told["n_steps"] == "60" and told["train_batch_size_samples"] == "128"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d .*", told["written"])
    assert told["sae-lens"].startswith("6.")


def test_hooks_are_listed_with_shapes(capsys):
    main(["hooks", "--model", "factorworld"])
    lines = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["vision.blocks.3.hook_resid_post"].strip() == "[batch, 37, 128]"
    assert lines["text.hook_normalized"].strip() == "[batch, 128]"


def test_scores_can_be_taken_anew(job, capsys):
    argv = ["mds", "--sae", str(job / "sae"), "--acts", str(job / "acts")]
    main([*argv, "--score", "frequency", "--rule", "paper"])
    assert "frequency, paper rule" in capsys.readouterr().out
    modality = json.loads((job / "sae/cfg.json").read_text())["metadata"]["modality"]
    assert (modality["score"], modality["rule"]) == ("frequency", "paper")


_EXTRACT = ("extract", "--out", "{job}/x")
WRONG = {
    "tiny dictionary": (["truth", "--sizes", "512", "8"], "at least 16 latents, not 8"),
    "unknown model": (["hooks", "--model", "ViT-B-33"], "ViT-B-32"),
    "missing table": ([*_EXTRACT, "--pairs", "none.csv"], "none.csv"),
    "missing column": (
        [*_EXTRACT, "--pairs", "{job}/world/captions.csv", "--caption-column", "text"],
        "text",
    ),
    "unknown hook": (
        [*_EXTRACT, "--pairs", "factorworld:10", "--image-hook", "vision.hook_normalised"],
        "vision.hook_normalized",
    ),
    "other pairs in the folder": (
        ["extract", "--pairs", "factorworld:10", "--out", "{job}/acts"],
        "acts",
    ),
    "no store": (["train", "--acts", "{job}/none", "--out", "{job}/y"], "none"),
    "nothing to train on": (["train"], "--acts"),
    "trained already": (["train", "--acts", "{job}/acts", "--out", "{job}/sae"], "--overwrite"),
    "no SAE": (["mds", "--sae", "{job}/acts", "--acts", "{job}/acts"], "not an SAE folder"),
    "unknown device": (
        [*_EXTRACT, "--pairs", "factorworld:10", "--device", "bogus"],
        "no device 'bogus'",
    ),
    "unknown device to train on": (
        ["train", "--acts", "{job}/acts", "--out", "{job}/y", "--device", "bogus"],
        "no device 'bogus'",
    ),
    "no such latent": (
        ["report", "--sae", "{job}/sae", "--acts", "{job}/acts", "--latents", "3,64"],
        "no latent 64: this SAE has 64",
    ),
    "a latent that is no number": (
        ["report", "--sae", "{job}/sae", "--acts", "{job}/acts", "--latents", "three"],
        "'three' is no number",
    ),
    "a folder for the page": (
        ["report", "--sae", "{job}/sae", "--acts", "{job}/acts", "--out", "{job}"],
        "is a folder: give the name of a file",
    ),
    "a world in a folder of something else": (
        ["world", "--out", "{job}/acts", "--pairs", "1"],
        "is not empty and holds no FactorWorld pairs",
    ),
    "a world of nothing": (["world", "--out", "{job}/w", "--pairs", "0"], "at least 1 pair"),
    "an SAE in a folder of something else": (
        ["train", "--acts", "{job}/acts", "--out", "{job}/acts", "--overwrite"],
        "is not empty and holds no SAE",
    ),
    "resumed as another": (
        ["train", "--acts", "{job}/acts", "--out", "{job}/sae", "--resume", "--d-sae", "32"],
        "was trained with d_sae = 64",
    ),
    "too few pairs": (["quickstart", "--pairs", "10"], "500"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_gets_one_line(job, case, capsys):
    argv, named = WRONG[case]
    with pytest.raises(SystemExit) as stop:
        main([word.format(job=job) for word in argv])
    assert stop.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mm-sae: ")
    assert named in last


def test_sae_of_another_encoder_is_refused(job, tmp_path, capsys):
    acts = str(tmp_path / "acts")
    main(["extract", "--model", "factorworld-declip", "--pairs", "factorworld:50", "--out", acts])
    with pytest.raises(SystemExit):
        main(["mds", "--sae", str(job / "sae"), "--acts", acts])
    error = capsys.readouterr().err
    assert "factorworld (sha256:" in error
    assert "factorworld-declip (sha256:" in error


def test_truncated_shard_is_named(job, tmp_path, capsys):
    import shutil

    acts = tmp_path / "acts"
    shutil.copytree(job / "acts", acts)
    shard = max(acts.rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(SystemExit):
        main(["mds", "--sae", str(job / "sae"), "--acts", str(acts)])
    assert shard.name in capsys.readouterr().err


def test_help_is_quick_and_import_is_light():
    start = time.perf_counter()
    command = [sys.executable, "-m", "mm_sae_plugin.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    # Two seconds on a quiet machine; a busy one gets some slack.
    assert time.perf_counter() - start < 10
    for name in ("quickstart", "world", "hooks", "extract", "train", "mds", "report"):
        assert name in done.stdout
    code = "import mm_sae_plugin.cli, sys; print('torch' in sys.modules, 'sae_lens' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_it_is_quiet_where_nobody_reads_on():
    command = [sys.executable, "-m", "mm_sae_plugin.cli", "train", "--help"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
