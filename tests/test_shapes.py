"""The suite checks annotations as it runs: a tensor that is not what it says is caught."""

import pytest
import torch
from jaxtyping import TypeCheckError

from mm_sae_plugin import ModalityStatistics
from mm_sae_plugin.stats.interfaces import PairRows


def test_a_call_with_other_shapes_than_it_says_fails():
    with pytest.raises(TypeCheckError, match="codes_text"):
        ModalityStatistics(3).update(torch.rand(4, 3), torch.rand(5, 3), torch.arange(4))


def test_a_dataclass_with_other_shapes_than_it_says_fails():
    rows, numbers = torch.rand(4, 3), torch.arange(4)
    with pytest.raises(TypeCheckError, match="first_of_image"):
        PairRows(rows, rows, numbers, numbers, first_of_image=numbers)


def test_each_call_has_its_own_sizes():
    for n_pairs in (4, 5):
        codes = torch.rand(n_pairs, 3)
        ModalityStatistics(3).update(codes, codes, torch.arange(n_pairs))
