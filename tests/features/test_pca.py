"""Principal components, against those of the whole covariance at once."""

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import Decodable, PrincipalComponents
from tests.stats.fakes import FakeStore, random_store


def stretched(n_images: int = 1500, d_in: int = 6) -> FakeStore:
    """Rows whose variances differ by direction, so that the components are determined."""
    store = random_store(n_images, d_in)
    scale = 2.0 ** -torch.arange(d_in)
    turn = torch.linalg.qr(torch.randn(d_in, d_in, generator=torch.Generator().manual_seed(1)))[0]
    store.images, store.texts = (store.images * scale) @ turn + 1, (store.texts * scale) @ turn - 1
    return store


def all_rows(store: FakeStore) -> torch.Tensor:
    return torch.cat([store.images[store.image_index], store.texts]).double()


def test_the_components_are_the_eigenvectors_of_the_covariance():
    store = stretched()
    assert len(store.texts) > 2 * 1024, "takes more than one step"
    pca = PrincipalComponents.fit(store)
    rows = all_rows(store)
    torch.testing.assert_close(pca.mean.double(), rows.mean(0), atol=1e-5, rtol=0)
    values, vectors = torch.linalg.eigh(torch.cov(rows.T, correction=0))
    cosines = (pca.components.double() * vectors.flip(1).T).sum(1).abs()
    torch.testing.assert_close(cosines, torch.ones(6).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(pca.explained, values.flip(0) / values.sum(), atol=1e-9, rtol=0)


def test_all_components_keep_everything_and_halves_never_meet():
    store = stretched(100)
    pca = PrincipalComponents.fit(store)
    assert isinstance(pca, Decodable) and pca.n_features == 12
    codes = pca.encode(store.images, "image")
    assert bool((codes >= 0).all()) and bool((codes[:, :6] * codes[:, 6:] == 0).all())
    torch.testing.assert_close(pca.decode(codes, "image"), store.images, atol=1e-5, rtol=1e-5)


def test_few_components_explain_what_they_say():
    store = stretched()
    pca = PrincipalComponents.fit(store, 2)
    assert pca.n_features == 4
    rows = all_rows(store).float()
    left = rows - pca.decode(pca.encode(rows, "text"), "text")
    share = 1 - float(left.square().sum() / (rows - rows.mean(0)).square().sum())
    assert share == pytest.approx(float(pca.explained.sum()), abs=2e-3)


def test_fewer_rows_than_dimensions_give_as_many_components_as_rows():
    store = FakeStore(torch.randn(2, 8), torch.randn(2, 8), torch.arange(2))
    assert PrincipalComponents.fit(store).n_features == 8
    with pytest.raises(
        UserError, match=r"cannot find 5 components of 4 rows of width 8: .* 1 to 4"
    ):
        PrincipalComponents.fit(store, 5)


def test_what_cannot_be_fitted_is_refused():
    empty = FakeStore(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    with pytest.raises(UserError, match="no image–caption pairs"):
        PrincipalComponents.fit(empty)
    unequal = FakeStore(torch.randn(5, 4), torch.randn(5, 3), torch.arange(5))
    with pytest.raises(UserError, match="images have 4 dimensions and captions 3"):
        PrincipalComponents.fit(unequal)
    with pytest.raises(UserError, match="takes activations of width 6, but these are 5 wide"):
        PrincipalComponents.fit(stretched(50)).encode(torch.randn(2, 5), "image")
