"""SAELens' private wrapper, which splices SAEs in: what is relied on, and which version it was."""

import inspect
import sys
from importlib import reload
from importlib.metadata import version

import pytest
import torch
from sae_lens.analysis import hooked_sae_transformer

from mm_sae_plugin.models import sae_lens_wrapper
from tests.models.test_splicing import make_sae

CHANGED = f"sae-lens {version('sae-lens')} changed the private _SAEWrapper"


def test_it_is_built_as_we_build_it() -> None:
    parameters = list(inspect.signature(sae_lens_wrapper.SAEWrapper.__init__).parameters)
    assert parameters[:3] == ["self", "sae", "use_error_term"], CHANGED


@pytest.mark.parametrize("use_error_term", [False, True])
def test_it_computes_what_we_rely_on(use_error_term: bool) -> None:
    sae = make_sae(8)
    wrapper = sae_lens_wrapper.SAEWrapper(sae, use_error_term=use_error_term)
    acts = torch.randn(3, 8)
    with torch.no_grad():
        expected = acts if use_error_term else sae(acts)
        torch.testing.assert_close(wrapper(acts), expected, msg=CHANGED)
    assert wrapper.sae is sae, CHANGED


def test_its_absence_names_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.delattr(hooked_sae_transformer, "_SAEWrapper")
        with pytest.raises(ImportError, match=rf"SAELens {version('sae-lens')} no longer has"):
            reload(sae_lens_wrapper)
    reload(sys.modules[sae_lens_wrapper.__name__])
