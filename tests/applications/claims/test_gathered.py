"""Claims out of the files of other commands."""

import json

import pytest

from mm_sae_plugin.applications.claims.gathered import gathered_claims
from mm_sae_plugin.errors import UserError

ROBUSTNESS = {
    "model": "factorworld",
    "claim_c5": {"verdict": "not supported", "reason": "TextD is last.", "differences": []},
    "claim_c5_paper_labels": {"verdict": "undecided", "reason": "Too few.", "differences": []},
}
STEERING = {
    "model": "factorworld",
    "claim_c6": {"verdict": "not supported", "reason": "Shared."},
    "claim_c6_paper_labels": {"verdict": "not supported", "reason": "Shared."},
}
ASYMMETRY = {
    "verdict": "undecided",
    "reason": "Either way.",
    "value": -0.2,
    "interval": {"low": -0.5, "high": 0.1},
    "random": [0.1, 0.3],
}
NO_CLASS = ASYMMETRY | {"value": None, "interval": None, "random": []}
AUDIT = {
    "model": {"name": "mine", "weights_id": "sha256:1"},
    "attribution": {"asymmetry": ASYMMETRY, "asymmetry_paper": NO_CLASS},
}


def written(folder, **records):
    folder.mkdir(exist_ok=True)
    for name, record in records.items():
        (folder / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def test_verdicts_are_taken_as_they_were_written(tmp_path):
    folder = written(tmp_path / "all", robustness=ROBUSTNESS, steering=STEERING, audit=AUDIT)
    found = gathered_claims([folder])
    assert [(one.claim, one.labels, one.verdict) for one in found] == [
        ("C5", "carried", "not supported"),
        ("C5", "paper", "undecided"),
        ("C6", "carried", "not supported"),
        ("C6", "paper", "not supported"),
        ("C7", "carried", "undecided"),
        ("C7", "paper", "undecided"),
    ]
    seventh = found[4]
    assert (seventh.model, seventh.value, seventh.low, seventh.high) == ("mine", -0.2, -0.5, 0.1)
    assert seventh.null == pytest.approx(0.2)
    assert found[5].null is None and found[5].low is None
    json.dumps([one.record() for one in found], allow_nan=False)


def test_what_no_file_has_is_not_tested_and_says_how(tmp_path):
    folder = written(tmp_path / "some", robustness=ROBUSTNESS)
    found = {one.claim: one for one in gathered_claims([folder / "robustness.json"])}
    assert found["C6"].verdict == found["C7"].verdict == "not tested"
    assert "mm-sae steering-eval" in found["C6"].reason
    assert "mm-sae bias --sae" in found["C7"].reason
    assert [one.verdict for one in gathered_claims([])] == ["not tested"] * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON: write it again"),
        ("[]", "is no record that this version reads"),
        ("{}", "says nothing of a claim: give what"),
        ('{"attribution": null}', "says nothing of a claim: .* the last with --sae"),
        ('{"claim_c5": {}}', "is no record that this version reads"),
    ],
)
def test_files_that_hold_no_claim_are_refused(tmp_path, content, message):
    path = tmp_path / "audit.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        gathered_claims([path])


def test_a_folder_without_records_and_a_file_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no record of a claim: give a folder with robust"):
        gathered_claims([tmp_path])
    with pytest.raises(UserError, match=r"There is no .*robustness\.json"):
        gathered_claims([tmp_path / "robustness.json"])
