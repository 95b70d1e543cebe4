"""Non-negative factors: what is planted is found, and codes are those of least squares."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import Decodable, NonNegativeFactors
from tests.stats.fakes import FakeStore

N, D = 600, 8


def planted(seed: int = 0) -> tuple[FakeStore, torch.Tensor]:
    """Rows that are sparse sums of four parts with disjoint signs, and the parts."""
    generator = torch.Generator().manual_seed(seed)
    parts = torch.zeros(4, D)
    for k, sign in enumerate((1, -1, 1, -1)):
        parts[k, 2 * k : 2 * k + 2] = sign * torch.tensor([1.0, 0.5])
    codes = torch.rand(2 * N, 4, generator=generator)
    codes *= torch.rand(2 * N, 4, generator=generator) < 0.5
    rows = codes @ parts
    return FakeStore(rows[:N], rows[N:], torch.arange(N)), parts


@pytest.fixture(scope="module")
def fitted() -> NonNegativeFactors:
    return NonNegativeFactors.fit(planted()[0], 4, n_epochs=20, seed=0)


def test_planted_parts_are_found(fitted):
    _, parts = planted()
    assert isinstance(fitted, Decodable) and fitted.n_features == 4
    cosines = torch.cosine_similarity(fitted.directions[:, None], parts[None], dim=-1)
    assert sorted(cosines.argmax(1).tolist()) == [0, 1, 2, 3]
    assert float(cosines.max(1).values.min()) > 0.99


def test_what_was_planted_is_rebuilt(fitted):
    rows = planted()[0].images
    rebuilt = fitted.decode(fitted.encode(rows, "image"), "image")
    assert float((rebuilt - rows).square().sum() / rows.square().sum()) < 1e-2


def test_codes_solve_the_non_negative_least_squares(fitted):
    rows = torch.randn(40, D, generator=torch.Generator().manual_seed(2))
    codes = fitted.encode(rows, "text")
    halves = torch.cat([rows.relu(), (-rows).relu()], 1).double().numpy()
    exact = np.stack([nnls(fitted.parts.double().numpy().T, row)[0] for row in halves])
    np.testing.assert_allclose(codes.numpy(), exact, atol=1e-4)
    assert bool((codes == 0).any()), "true zeros, so that a feature can be silent"


def test_a_code_does_not_depend_on_the_rest_of_the_batch(fitted):
    rows = torch.randn(30, D, generator=torch.Generator().manual_seed(3))
    together = fitted.encode(rows, "image")
    alone = torch.cat([fitted.encode(row[None], "image") for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    assert fitted.encode(rows.reshape(3, 10, D), "image").shape == (3, 10, 4)
    assert fitted.encode(rows[:0], "image").shape == (0, 4)


def test_the_same_seed_gives_the_same_parts():
    store, _ = planted()
    one, other = (NonNegativeFactors.fit(store, 3, n_epochs=1, seed=5) for _ in range(2))
    assert torch.equal(one.parts, other.parts)


def test_more_parts_than_half_dimensions_are_refused():
    with pytest.raises(UserError, match="cannot find 17 parts of 1200 rows with 16 half"):
        NonNegativeFactors.fit(planted()[0], 17)
    with pytest.raises(UserError, match="takes activations of width 8, but these are 7 wide"):
        NonNegativeFactors(torch.rand(3, 16)).encode(torch.randn(2, 7), "image")
