"""The columns of an audit: what is counted, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from mm_sae_plugin.applications.bias.groups import Groups
from mm_sae_plugin.errors import UserError

SEXES = ("woman", "man") * 20
PAIRS = tuple(f"pair{i // 2}" for i in range(40))


def test_counts_are_shown_with_totals():
    target = ("nurse",) * 10 + ("pilot",) * 30
    table = Groups(("woman",) * 25 + ("man",) * 15, target, least=15).counts()
    assert table.loc["woman"].to_dict() == {"nurse": 10, "pilot": 15, "all": 25}
    assert table.loc["man"].to_dict() == {"nurse": 0, "pilot": 15, "all": 15}
    assert table.loc["all"].to_dict() == {"nurse": 10, "pilot": 30, "all": 40}
    assert Groups(SEXES).counts()["all"].to_dict() == {"man": 20, "woman": 20, "all": 40}


def test_totals_overwrite_neither_a_target_nor_a_group_of_their_name():
    target = ("all",) * 10 + ("*all*",) * 30
    table = Groups(("woman",) * 25 + ("all",) * 15, target, least=15).counts()
    assert table.loc["woman"].to_dict() == {"all": 10, "*all*": 15, "**all**": 25}
    assert table.loc["all"].to_dict() == {"all": 0, "*all*": 15, "**all**": 15}
    assert table.loc["**all**"].to_dict() == {"all": 10, "*all*": 30, "**all**": 40}


def test_targets_without_enough_of_a_group_are_named():
    target = ("nurse",) * 10 + ("pilot",) * 30
    groups = Groups(("woman",) * 9 + ("man",) * 16 + ("woman",) * 15, target, least=15)
    assert groups.comparable_targets(1) == (["nurse", "pilot"], [])
    assert groups.comparable_targets() == (["pilot"], ["nurse"])


def test_twins_are_paired_row_by_row():
    order = np.random.default_rng(0).permutation(40)
    groups = Groups(tuple(SEXES[i] for i in order), twin=tuple(PAIRS[i] for i in order))
    first, second = groups.pairs("woman")
    assert {groups.group[row] for row in first} == {"woman"}
    assert {groups.group[row] for row in second} == {"man"}
    twin = groups.twin
    assert twin is not None
    assert [twin[row] for row in first] == [twin[row] for row in second]
    assert len(set(first.tolist()) | set(second.tolist())) == 40
    assert groups.clusters == twin
    with pytest.raises(UserError, match=r"no group 'child': choose from man, woman"):
        groups.pairs("child")
    with pytest.raises(UserError, match="no twins"):
        Groups(SEXES).pairs("woman")


def test_people_are_counted_not_their_images():
    people = tuple(f"{sex}{i // 4}" for i, sex in enumerate(SEXES))
    assert Groups(SEXES, identity=people, least=10).clusters == people
    with pytest.raises(UserError, match=r"group 'man' has 10 people, and at least 20 are needed"):
        Groups(SEXES, identity=people)


def test_columns_of_a_table_become_text():
    frame = pd.DataFrame(
        {"sex": SEXES, "job": [1.0, 1.0, 2.0, 2.0] * 10, "pair": [i // 2 for i in range(40)]}
    )
    groups = Groups.of_columns(
        frame["sex"].tolist(), frame["job"].tolist(), twin=list(frame["pair"])
    )
    assert groups.target == ("1", "1", "2", "2") * 10
    assert groups.twin is not None and groups.twin[:3] == ("0", "0", "1")
    assert len(groups) == 40 and groups.names == ("man", "woman")


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "", "  "])
def test_missing_values_are_counted(missing):
    with pytest.raises(UserError, match=r"^2 of 42 images have no group: fill it in, or leave"):
        Groups.of_columns([*SEXES, missing, missing])
    with pytest.raises(UserError, match=r"^1 of 40 images have no target"):
        Groups.of_columns(SEXES, [missing, *"ab" * 19, "a"])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"group": ()}, "There are no images"),
        ({"group": ("man",) * 40}, r"All images are of one group, 'man'"),
        (
            {"group": ("man",) * 21 + ("woman",) * 19},
            r"The group 'woman' has 19 images, and at least 20 are needed",
        ),
        ({"group": SEXES, "target": ("nurse",) * 40}, r"have the target 'nurse'"),
        ({"group": SEXES, "target": ("nurse",) * 39}, r"target column has 39 values for 40"),
        ({"group": SEXES, "identity": PAIRS}, r"identity 'pair0' is in two groups"),
        (
            {"group": SEXES, "twin": (*PAIRS[:-2], "pair0", "pair19")},
            r"twin 'pair0' has 1 of 'man' and 2 of 'woman': each needs exactly one",
        ),
        (
            {"group": SEXES, "twin": PAIRS, "target": ("nurse", "pilot") * 20},
            r"twin 'pair0' has the targets 'nurse' and 'pilot': both of its images need the same",
        ),
        (
            {"group": SEXES, "twin": (*PAIRS[:-1], "alone")},
            r"twin 'pair19' has 0 of 'man' and 1 of 'woman'",
        ),
        (
            {"group": ("man", "man", "woman", "woman") * 10, "twin": PAIRS},
            r"twin 'pair0' has 2 of 'man' and 0 of 'woman'",
        ),
        (
            {"group": SEXES + ("child",) * 20, "twin": PAIRS + PAIRS[:20]},
            r"Twins compare two groups, but there are 3, child, man, woman: say which two",
        ),
    ],
)
def test_bad_columns_get_one_sentence(columns, said):
    with pytest.raises(UserError, match=said) as caught:
        Groups(**columns)
    assert "\n" not in str(caught.value)
