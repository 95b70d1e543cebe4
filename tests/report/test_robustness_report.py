"""The table and the figure of an evaluation of robustness."""

import io
from xml.etree import ElementTree

import pytest
from rich.console import Console

from mm_sae_plugin.report.robustness import (
    curve,
    robustness_figure,
    robustness_table,
    told_of_detector,
    write_robustness_figure,
)

SVG = "{http://www.w3.org/2000/svg}"
SWEEP = {
    "0.031373": {"static": 0.5, "adaptive": 0.0},
    "0.000000": {"static": 0.9, "adaptive": 0.9},
    "0.007843": {"static": 0.8, "adaptive": 0.4},
}
NAMES = {
    "none": "undefended",
    "factorworld-robust": "shipped",
    "random like TextD": "fine-tuned",
    "CrossD (paper)": "fine-tuned",
    "without Undetermined": "training-free",
}
TASKS = ("object", "occupation")


def arm(name, kind, task="object", seed=2, sweep=None):
    return {
        "name": name,
        "kind": kind,
        "seed": seed,
        "task": task,
        "n": 500,
        "clean": 0.95,
        "static": 0.9,
        "adaptive": 0.5,
        "wilson": [0.456, 1.0],
        "strong": {"n": 200.0} if sweep else {},
        "sweep": sweep or {},
        "retrieval": 0.88 if task == "object" else None,
    }


def record(arms, norm="Linf"):
    return {"model": "factorworld", "settings": {"eps": 4 / 255, "norm": norm}, "arms": arms}


@pytest.fixture
def evaluated():
    """Five defenses on two tasks; all but the last are swept on the first."""
    return record(
        [
            arm(name, kind, task, sweep=SWEEP if task == "object" and kind[0] != "t" else None)
            for name, kind in NAMES.items()
            for task in TASKS
        ]
    )


def printed(table, width=80):
    told = io.StringIO()
    Console(file=told, width=width).print(table)
    return told.getvalue()


def drawn(found):
    return ElementTree.fromstring(robustness_figure(found))


def titles(svg):
    """What is told of each line."""
    return [group.findtext(f"{SVG}title", "") for group in svg.iter(f"{SVG}g")]


def points(group):
    """Where the dots of a line are, on the page."""
    dots = group.findall(f"{SVG}circle")
    return [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in dots]


def test_the_table_shows_all_names_whole_in_eighty_columns(evaluated):
    told = printed(robustness_table(evaluated))
    assert "…" not in told and max(map(len, told.splitlines())) <= 80
    assert "what is still right within eps 0.0157 (Linf)" in " ".join(told.split())
    rows = [line for line in told.splitlines() if "500" in line]
    assert len(rows) == len(NAMES) * len(TASKS)
    for name, kind in NAMES.items():
        # Behind a tower stands its seed.
        start = f"{name} 2 " if kind == "fine-tuned" else f"{name} "
        of_name = [line for line in rows if line.startswith(start)]
        assert len(of_name) == 2, name
        for task, found, line in zip(TASKS, ("0.88", "–"), of_name, strict=True):
            cells = line.removeprefix(start).split()
            assert cells == [task, "500", "0.95", "0.90", "0.50", ".46–1.00", found]


def test_the_figure_has_a_line_in_either_half_for_every_swept_arm(evaluated):
    svg = drawn(evaluated)
    swept = [name for name, kind in NAMES.items() if kind != "training-free"]
    assert sorted(title.split(":")[0] for title in titles(svg)) == sorted(2 * swept)
    assert titles(svg)[0] == "none: clean 0.95, static 0.90, adaptive 0.50"
    for group in svg.iter(f"{SVG}g"):
        (path,) = (each.get("d", "") for each in group.findall(f"{SVG}path"))
        assert path.startswith("M") and path.count("L") == len(SWEEP) - 1
        assert len(points(group)) == len(SWEEP)
    words = [each.text for each in svg.iter(f"{SVG}text")]
    assert set(swept) <= set(words) and "without Undetermined" not in words
    assert "accuracy on the task object, 200 images, PGD" in words
    # Axes in 255ths.
    assert words.count("8") == 2 and "largest change of a pixel, in 255ths" in words


def test_lines_go_by_the_budget_and_fall_lower_on_the_page(evaluated):
    row = evaluated["arms"][0]
    assert curve(row, "adaptive") == [(0.0, 0.9), (0.007843, 0.4), (0.031373, 0.0)]
    first, *_, last = drawn(evaluated).iter(f"{SVG}g")
    adaptive, static = points(first), points(last)
    assert adaptive == sorted(adaptive) and static == sorted(static)
    assert adaptive[0][1] == static[0][1] and adaptive[-1][1] > static[-1][1] > static[0][1]
    assert adaptive[-1][0] < static[0][0]


def test_names_that_are_markup_are_shown_as_they_are():
    name = 'a <b> & "c"'
    found = record([arm("none", "undefended"), arm(name, "training-free", sweep=SWEEP)])
    svg = drawn(found)
    assert all(title.startswith(f"{name}: clean") for title in titles(svg))
    assert name in [each.text for each in svg.iter(f"{SVG}text")]
    assert name in printed(robustness_table(found), 100)


def test_a_name_in_brackets_is_no_style():
    # A task of one's own is named as its file.
    found = record([arm("without [red]", "training-free", "cats[bold]")]) | {"model": "hf:a[b]"}
    told = printed(robustness_table(found))
    assert all(name in told for name in ("without [red]", "cats[bold]", "hf:a[b]"))


def test_where_no_arm_was_swept_there_is_an_empty_figure():
    for arms in ([], [arm("none", "undefended")]):
        svg = drawn(record(arms))
        assert titles(svg) == []
        assert "What each defense withstands" in [each.text for each in svg.iter(f"{SVG}text")]
    assert "none" in printed(robustness_table(record(arms)))


def test_lengths_are_no_255ths():
    words = [e.text for e in drawn(record([arm("a", "shipped", sweep=SWEEP)], "L2")).iter()]
    assert "length of the change" in words


def test_a_figure_is_written_where_it_is_asked(evaluated, tmp_path):
    path = write_robustness_figure(evaluated, tmp_path / "made.svg")
    assert path.read_text(encoding="utf-8") == robustness_figure(evaluated)


def test_a_detector_is_told_in_one_sentence():
    auroc = {"value": 0.913}
    found = {
        "false_positives": 0.05,
        "static": {"auroc": auroc, "evaded": 0.1},
        "adaptive": {"auroc": auroc, "evaded": 0.62, "low": 0.5, "high": 0.71},
    }
    told = told_of_detector("logistic", found)
    assert told.startswith("detector logistic: separates attacked images with AUROC 0.91 and flags")
    assert "5% of clean images" in told and "62% [50%, 71%]" in told
    # Where nothing was misclassified there is nothing to separate.
    found["static"]["auroc"] = {"value": None}
    assert told_of_detector("logistic", found).startswith("detector logistic: flags 5%")
