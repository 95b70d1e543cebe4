"""Differences of means lead from the prompt's values to the reference's."""

import dataclasses

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, normalize

from mm_sae_plugin.applications.steering.differences import difference_arms
from mm_sae_plugin.applications.steering.evaluation import cases
from mm_sae_plugin.factorworld.captions import write_caption


def test_each_case_goes_by_the_means_of_its_own_values(study):
    chosen = cases(3)
    store = study.store
    sides = {
        "mean difference of captions": ("said", store.text_rows()),
        "mean difference of pictures": ("drawn", store.image_rows()[store.image_index]),
    }
    arms = difference_arms(study, chosen)
    assert [arm.name for arm in arms] == list(sides)
    prompts = torch.zeros(6, store.text_rows().shape[1])
    for arm in arms:
        side, rows = sides[arm.name]
        found = arm.direction(prompts, prompts)
        for number, case in enumerate(chosen):
            expected = torch.zeros(prompts.shape[1])
            for factor, value in case.said.items():
                column = np.array(store.labels[f"{side}.{factor}"])
                wanted = case.reference.values[factor]
                ends = [
                    normalize(rows[torch.from_numpy(column == end)], dim=1).mean(0)
                    for end in (wanted, value)
                ]
                expected += ends[0] - ends[1]
            assert torch.allclose(found[2 * number], expected, atol=1e-5)
            assert torch.equal(found[2 * number], found[2 * number + 1])


def test_it_leads_to_the_reference(study):
    chosen = cases(12)
    with torch.no_grad():
        wanted = study.model(texts=[_said(case) for case in chosen])[1]
        asked = study.model(texts=[case.prompt for case in chosen])[1]
    for arm in difference_arms(study, chosen):
        direction = arm.direction(asked, asked)
        alike = cosine_similarity(direction, wanted - asked)
        elsewhere = cosine_similarity(direction, (wanted - asked).roll(1, 0))
        assert alike.mean() > 0.4 > 0.2 > elsewhere.mean().abs()


def test_a_factor_that_the_store_does_not_know_adds_nothing(study):
    case = cases(1)[0]
    strange = dataclasses.replace(case, said={"colour": "octarine"})
    for arm in difference_arms(study, [strange]):
        assert not arm.direction(torch.zeros(1, 128), torch.zeros(1, 128)).any()


def _said(case) -> str:
    return write_caption({name: case.reference.values[name] for name in case.said})


def test_a_store_without_known_factors_has_no_such_arms(study, monkeypatch):
    monkeypatch.delitem(study.store.labels, "said.colour")
    assert difference_arms(study, cases(1)) == []
