"""The evaluation that the page shows: read with care, drawn as it is, told in words."""

import copy
import json

import pytest

from mm_sae_plugin.demos.defense.evaluating import evaluated
from mm_sae_plugin.demos.defense.record import read_record
from mm_sae_plugin.demos.defense.sweep_figure import curve_of
from mm_sae_plugin.errors import UserError
from tests.demos.synthetic_record import EPS, synthetic_record


def test_both_lines_go_through_all_budgets():
    curve = curve_of(synthetic_record()["arms"][1], EPS)
    assert curve.eps == pytest.approx([0, 1, 2, 4, 6, 8], abs=1e-3)
    assert curve.static[0] == curve.adaptive[0] == 0.93 and curve.at == 3
    assert (curve.static[3], curve.adaptive[3]) == (0.9, 0.61)
    assert curve.static[5] == 0.87 and curve.adaptive[5] == 0.29
    assert curve.wilson == pytest.approx((0.57, 0.65))


def test_it_is_shown_with_what_is_doubtful():
    html = evaluated(synthetic_record())
    # First seeds and the first task only, each with its figure.
    assert html.count('role="img"') == 4 and html.count("<h4>FARE</h4>") == 1
    assert "Accuracy of robust tower by ε in 1/255. 0: static 0.93, adaptive 0.93; 1:" in html
    assert "“FARE” is right on 89% of attacked pictures; attacks that go through it leave" in html
    assert "<b>0.61</b> [0.57, 0.65]" in html and html.count("<th scope='row'>FARE</th>") == 1
    assert "<summary>Other defenses, attacked with PGD alone (1)</summary>" in html
    assert "mean shift</th><td>0.90</td><td>0.20</td><td><b>0.10</b>" in html
    assert "quick evaluation" not in html
    assert "This is a quick evaluation" in evaluated(synthetic_record() | {"quick": True})
    assert "1 of 2 self-tests failed: do not trust the figures." in html
    assert "✗ failed</span> <b>large eps</b>: At ε = 0.5 a fifth is right." in html
    assert "<b>Not supported.</b> CrossD leads TextD." in html
    assert "<b>Supported.</b> By 0.18 &lt;b&gt;." in html


def test_tests_that_all_passed_are_said_to():
    record = synthetic_record()
    record["self_tests"]["large_eps"]["passed"] = True
    assert "All 2 self-tests passed" in evaluated(record)
    assert "No evaluation was given" in evaluated(None)


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "robustness.json"
    path.write_text(json.dumps(synthetic_record()))
    assert read_record(path) == synthetic_record()


def test_what_is_no_evaluation_is_a_sentence(tmp_path):
    path = tmp_path / "robustness.json"
    with pytest.raises(UserError, match="cannot be read"):
        read_record(path)
    record = synthetic_record()
    without_name, no_arms = copy.deepcopy(record), record | {"arms": []}
    del without_name["arms"][0]["sweep"]
    for content, told in (
        ("no JSON", "cannot be read"),
        ("[]", "has no 'arms'"),
        (json.dumps({"arms": []}), "has no 'self_tests'"),
        (json.dumps(no_arms), "has no arms"),
        (json.dumps(without_name), "has an arm without 'sweep'"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=f"{told}.*as `mm-sae robustness` writes it"):
            read_record(path)
