"""The record of an audit: plain JSON that holds all that was asked, counted and found."""

import json

import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.embedding import embed_pictures, embed_texts
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.prompts import PromptSet, factorworld_prompts
from mm_sae_plugin.applications.bias.record import record_of_groups, record_of_twins
from mm_sae_plugin.applications.bias.twins import GENDER, draw_twins
from mm_sae_plugin.study import Study

SOURCE = {"name": "faces.csv", "left_out": {}}


@pytest.fixture(scope="module")
def study(small_sae):
    return Study.open(small_sae)


def plain(record):
    """Read back what a strict JSON file would hold."""
    return json.loads(json.dumps(record, allow_nan=False))


@pytest.fixture(scope="module")
def of_twins(study):
    return plain(record_of_twins(study.model, study, n_per_target=4))


def test_a_record_of_twins_holds_what_was_asked_and_counted(of_twins, study):
    prompts = factorworld_prompts()
    assert PromptSet.from_dict(of_twins["prompts"]) == prompts
    assert of_twins["words"]["woman"] == list(prompts.groups["woman"])
    assert of_twins["groups"]["counts"]["nurse"] == {"man": 4, "woman": 4}
    assert of_twins["model"] == {"name": "factorworld", "weights_id": study.weights_id}
    assert of_twins["sae"]["sae_id"] == study.sae_id and of_twins["versions"]["torch"]


def test_a_record_of_twins_answers_three_questions(of_twins):
    for found in of_twins["targets"].values():
        assert found["low"] <= found["gap"] <= found["high"] and 0 < found["p"] <= 1
        assert found["no_bias"][0] < 0 < found["no_bias"][1]
    assert len(of_twins["nuisances"]) == 8 and of_twins["spread"] > 0
    test = of_twins["direction"]
    assert test["signed"] == pytest.approx(of_twins["summary"]["value"], abs=1e-4)
    assert f"{test['signed']:+.2f}" in of_twins["verdict"]
    assert of_twins["effect_size"]["floor"] == pytest.approx(1 / 70)


def test_a_record_says_what_the_gap_comes_from_and_what_makes_it_smaller(of_twins):
    classes = {row["removed"]["name"] for row in of_twins["attribution"]["classes"]}
    assert {"CrossD", "ImgD (paper)"} <= classes
    assert of_twins["mitigations"][0]["name"] == "nothing"
    assert of_twins["attribution_left_out"] is None
    assert any("invented" in limit for limit in of_twins["limits"])


def test_user_twins_give_the_same_gaps_as_twins_of_the_world(study, of_twins):
    """The same pictures, as a table with a twin column would name them."""
    twins = draw_twins(GENDER, 4)
    images = embed_pictures(study.model, [*twins.first, *twins.second])
    n = len(twins.targets)
    groups = Groups(
        ("woman",) * n + ("man",) * n, twins.targets * 2, twin=tuple(map(str, range(n))) * 2
    )
    found = plain(
        record_of_groups(study.model, images, groups, factorworld_prompts(), "woman", SOURCE)
    )
    for name, target in found["targets"].items():
        assert target["gap"] == pytest.approx(of_twins["targets"][name]["gap"], abs=1e-4)
        assert target["p"] == of_twins["targets"][name]["p"]
    assert found["direction"]["p"] == of_twins["direction"]["p"]
    assert found["sae"] is None and found["attribution_left_out"] == "No SAE was given."
    assert not any("differ in much besides" in limit for limit in found["limits"])


def test_an_effect_is_not_of_who_is_more_often_of_a_target(study):
    """More of the women are nurses, and every woman leans a little to the builders' prompts."""
    prompts = factorworld_prompts().of_targets(("nurse", "builder"))
    aims = {
        name: embed_texts(study.model, texts).mean(0) for name, texts in prompts.prompts.items()
    }
    target = tuple("nurse" if i % 4 else "builder" for i in range(80))
    target += tuple("builder" if i % 4 else "nurse" for i in range(80))
    group = ("woman",) * 80 + ("man",) * 80
    rows = torch.stack([aims[name] for name in target])
    rows[:80] += 0.1 * (aims["builder"] - aims["nurse"])
    rows += 0.001 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    groups, images = Groups(group, target), normalize(rows, dim=1)
    record = record_of_groups(study.model, images, groups, prompts, "woman", SOURCE)
    assert record["direction"]["signed"] < 0 and record["effect_size"]["d"] < 0
    assert record["direction"]["floor"] == record["effect_size"]["floor"] == 0.5


def test_three_groups_have_gaps_and_the_reason_why_no_attribution(study):
    images = normalize(torch.randn(90, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    groups = Groups(("a", "b", "c") * 30)
    prompts = PromptSet(("young person {} in red left",), {"nurse": ("nurse",)})
    found = plain(record_of_groups(study.model, images, groups, prompts, "a", SOURCE, study))
    assert found["groups"]["counts"] == {"all images": {"a": 30, "b": 30, "c": 30}}
    assert set(found["targets"]) == {"nurse"} and found["accuracy"] is None
    assert "of two groups" in found["attribution_left_out"]
    assert found["direction"] is found["verdict"] is found["effect_size"] is None
    metrics = [row["metric"] for row in found["metrics"]["nurse"]["rows"]]
    assert metrics == ["share gap@10", "share gap@50", "MaxSkew@10", "MaxSkew@50", "NDKL"]
