"""What was found is kept line by line, and found again only for the same attacks."""

from dataclasses import replace

import pytest

from mm_sae_plugin import load_model
from mm_sae_plugin.applications.defense.contenders import NONE, Contender
from mm_sae_plugin.applications.defense.kept_results import KEPT, KeptResults
from mm_sae_plugin.applications.defense.measuring import Posed, TaskResult
from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig
from mm_sae_plugin.applications.defense.tasks import Task

CFG = RobustnessConfig(n=16, n_pgd=1)
RESULT = TaskResult(NONE, "undefended", 0, "object", 16, 1.0, 0.5, 0.25, [0.1, 0.5], {"n": 16.0})


@pytest.fixture(scope="module")
def asked():
    model = load_model("factorworld")
    return Contender(NONE, "undefended", model), Posed.of(Task.of_world("object", 16), model, CFG)


def test_the_same_attacks_are_not_made_twice(asked, tmp_path):
    contender, posed = asked
    first = KeptResults(tmp_path / "new" / KEPT, CFG, None)
    assert first.find(contender, posed, True) is None
    first.keep(contender, posed, True, RESULT)
    again = KeptResults(tmp_path / "new" / KEPT, CFG, None)
    assert again.find(contender, posed, True) == RESULT


def test_anything_else_is(asked, tmp_path):
    contender, posed = asked
    path = tmp_path / KEPT
    KeptResults(path, CFG, None).keep(contender, posed, True, RESULT)
    known = KeptResults(path, CFG, None)
    assert known.find(contender, posed, False) is None
    assert known.find(replace(contender, name="other"), posed, True) is None
    assert known.find(replace(contender, seed=1), posed, True) is None
    robust = replace(contender, model=load_model("factorworld-robust"))
    assert known.find(robust, posed, True) is None
    assert known.find(contender, replace(posed, images=posed.images.flip(0)), True) is None
    assert KeptResults(path, replace(CFG, n_pgd=2), None).find(contender, posed, True) is None
    assert KeptResults(path, CFG, "sha256:0").find(contender, posed, True) is None


def test_a_line_that_was_cut_off_costs_itself_alone(asked, tmp_path):
    contender, posed = asked
    path = tmp_path / KEPT
    KeptResults(path, CFG, None).keep(contender, posed, True, RESULT)
    path.write_text(path.read_text() + '{"key": "0123", "resu')
    KeptResults(path, CFG, None).keep(contender, posed, False, RESULT)
    known = KeptResults(path, CFG, None)
    assert known.find(contender, posed, True) == known.find(contender, posed, False) == RESULT
