"""Which feature of another dictionary is the same: one to one, and the best of all ways."""

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from mm_sae_plugin.stats.feature_matching import match_features


def directions(n: int, d: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("whole", [2**26, 0])
def test_a_dictionary_in_another_order_and_of_other_lengths_is_found_again(whole):
    first, order = directions(40), torch.randperm(40, generator=torch.Generator().manual_seed(1))
    second = first[order] * torch.linspace(0.1, 9, 40)[:, None]
    matching = match_features(first, second, whole=whole)
    assert torch.equal(order[matching.partner], torch.arange(40))
    torch.testing.assert_close(matching.cosine, torch.ones(40).double())
    # A direction that points the other way is another one.
    assert not match_features(first, -second, whole=whole).within(0.9).any()


@pytest.mark.parametrize("whole", [2**26, 0])
@pytest.mark.parametrize(("n", "m"), [(5, 5), (4, 6), (6, 4)])
def test_no_other_way_of_pairing_has_a_larger_sum_of_cosines(n, m, whole):
    for seed in range(5):
        first, second = directions(n, 3, seed), directions(m, 3, seed + 100)
        matching = match_features(first, second, whole=whole)
        cosine = F.normalize(first, dim=1).double() @ F.normalize(second, dim=1).double().T
        small, large = (cosine, m) if n <= m else (cosine.T, n)
        best = max(
            sum(float(small[i, j]) for i, j in enumerate(chosen))
            for chosen in permutations(range(large), len(small))
        )
        assert float(matching.cosine.nansum()) == pytest.approx(best, abs=1e-6)
        partners = matching.partner[matching.partner >= 0]
        assert len(partners) == min(n, m) == len(set(partners.tolist()))


def test_the_nearest_goes_to_whom_it_helps_most():
    """Both are nearest to the same one; greedily, the other would be left with nothing."""
    first = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    second = torch.tensor([[1.0, 0.0], [0.9, -0.436]])
    matching = match_features(first, second)
    assert matching.partner.tolist() == [1, 0]
    torch.testing.assert_close(
        matching.cosine, torch.tensor([0.9, 0.8]).double(), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("whole", [2**26, 0])
def test_dead_features_have_no_partner_and_are_nobodys(whole):
    first = directions(12)
    second, alive_first, alive_second = first.clone(), torch.ones(12).bool(), torch.ones(12).bool()
    alive_first[3], alive_second[7], second[9] = False, False, 0.0
    matching = match_features(first, second, alive_first, alive_second, whole=whole)
    assert matching.partner[3] == -1 and matching.cosine[3].isnan()
    taken = set(matching.partner.tolist())
    assert not taken & {7, 9}
    # 3 is free there, since nobody dead asks for it: it goes to one of those left over.
    alike = [i for i in range(12) if i not in (3, 7, 9)]
    assert matching.partner[alike].tolist() == alike
    assert matching.within(0.99).nonzero()[:, 0].tolist() == alike


def test_nobody_alive_leaves_nobody_matched():
    dead = torch.zeros(5).bool()
    for alive in ((dead, None), (None, dead)):
        matching = match_features(directions(5), directions(5), *alive)
        assert matching.partner.tolist() == [-1] * 5
        assert matching.cosine.isnan().all() and not matching.within(0.1).any()


def test_looking_at_neighbours_only_finds_the_same_partners():
    first = directions(300, 32)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    second = first[order] + 0.8 * directions(300, 32, seed=2)
    best, near = match_features(first, second), match_features(first, second, whole=0)
    few = match_features(first, second, whole=0, n_candidates=8)
    assert torch.equal(near.partner, best.partner)
    same = best.within(0.7)
    assert int(same.sum()) > 150
    assert torch.equal(few.partner[same], best.partner[same])
