"""Images and prompts of an audit: what they are compared by, and how they are split."""

from collections import Counter

import pytest
import torch
from torch.nn.functional import normalize

from mm_sae_plugin.applications.bias.direction import signed_gap
from mm_sae_plugin.applications.bias.evidence import Evidence
from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.applications.bias.prompts import PromptSet, factorworld_prompts
from mm_sae_plugin.applications.bias.twins import GENDER, draw_twins
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model

D = 8


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


def unit(n, chance):
    return normalize(torch.randn(n, D, generator=chance), dim=1)


def by_hand(group, target=None, cluster=None, direction=None):
    chance = torch.Generator().manual_seed(0)
    n = len(group)
    return Evidence(
        unit(n, chance),
        tuple(group),
        "woman",
        target,
        cluster or tuple(map(str, range(n))),
        {
            name: normalize(torch.randn(3, D, generator=chance), dim=1)
            for name in ("nurse", "pilot")
        },
        {name: normalize(torch.randn(2, D, generator=chance), dim=1) for name in ("woman", "man")},
        direction or {},
        20.0,
    )


def test_gaps_are_the_difference_of_mean_logits():
    evidence = by_hand(["woman", "man"] * 10)
    women = evidence.images[::2] @ evidence.texts["nurse"].mean(0)
    men = evidence.images[1::2] @ evidence.texts["nurse"].mean(0)
    assert evidence.gaps()["nurse"] == pytest.approx(
        20 * float(women.mean() - men.mean()), abs=1e-4
    )
    assert evidence.second == "man"


def test_the_summary_is_signed_where_a_direction_is_stated():
    gaps = {"nurse": 2.0, "pilot": -1.0}
    direction = {"nurse": 1, "pilot": -1}
    stated = by_hand(["woman", "man"], direction=direction)
    assert stated.summary(gaps) == signed_gap(gaps, direction) == 1.5
    # One way only is no direction.
    assert by_hand(["woman", "man"], direction={"nurse": 1}).summary(gaps) == 1.5
    assert by_hand(["woman", "man"]).summary({"nurse": 2.0, "pilot": -2.0}) == 2.0


def test_targets_are_compared_within_themselves_and_left_out_where_there_are_too_few():
    group = ["woman", "man"] * 4 + ["woman"] * 4
    target = ("nurse",) * 8 + ("pilot",) * 4
    assert by_hand(group, target).contrast.targets == ("nurse",)
    with pytest.raises(UserError, match="No target has 2 images of 'woman' and 2 of 'man'"):
        _ = by_hand(["woman"] * 4 + ["man"] * 4, ("nurse",) * 4 + ("pilot",) * 4).contrast


def test_halves_share_no_cluster_and_hold_both_groups():
    people = tuple(f"p{i // 3}" for i in range(60))
    group = ["woman" if (i // 3) % 2 else "man" for i in range(60)]
    one, other = by_hand(group, cluster=people).halves()
    assert not set(one.cluster) & set(other.cluster)
    assert len(one.group) + len(other.group) == 60
    assert one.group.count("woman") == other.group.count("woman") == 15


def test_twins_stay_together_and_targets_are_split_evenly(model):
    evidence = Evidence.of_twins(model, draw_twins(GENDER, 4), factorworld_prompts())
    for half in evidence.halves():
        assert len(set(half.cluster)) == len(half.group) / 2
        assert half.target is not None
        assert sorted(Counter(half.target).values()) == [4] * 8
        assert len(half.contrast.targets) == 8
    assert evidence.direction["nurse"] == 1 and evidence.direction["pilot"] == -1
    assert set(evidence.words) == {"woman", "man"}


def test_groups_without_targets_compare_all_images(model):
    images = normalize(torch.randn(60, 128, generator=torch.Generator().manual_seed(0)), dim=1)
    groups = Groups(("woman", "man") * 30)
    prompts = PromptSet(("a {}",), {"nurse": ("nurse",)})
    evidence = Evidence.of_groups(model, images, groups, prompts, "man")
    assert evidence.contrast.targets == ("nurse",) and evidence.direction == {}
    assert len(evidence.words["woman"]) == 5


def test_three_groups_are_refused(model):
    groups = Groups(("a", "b", "c") * 20)
    prompts = PromptSet(("a {}",), {"nurse": ("nurse",)})
    with pytest.raises(UserError, match=r"of two groups, of which 'a' is one; .* a, b, c"):
        Evidence.of_groups(model, torch.zeros(60, 128), groups, prompts, "a")
