"""Measuring a generator: numbers of which no share can be taken are refused."""

import pytest

pytest.importorskip("diffusers")

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.recipes.evaluate_generator import EvaluateGeneratorConfig


@pytest.mark.parametrize("few", [{"n_prompts": 0}, {"n_open_prompts": -1}, {"n_seeds": 1}])
def test_too_few_to_measure_by(tmp_path, few):
    with pytest.raises(UserError, match="measured on one prompt of each kind at least"):
        EvaluateGeneratorConfig(tmp_path, **few)
