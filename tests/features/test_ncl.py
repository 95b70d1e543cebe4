"""The non-negative head: its codes, its gradient, its folder."""

import json

import pytest
import torch
import torch.nn.functional as F

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features import Decodable, FeatureMap, NonNegativeHead
from mm_sae_plugin.features.ncl import relu_with_gelu_gradient
from mm_sae_plugin.modality import MODALITIES


def test_values_are_those_of_a_relu_and_gradients_those_of_a_gelu():
    x = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    y = relu_with_gelu_gradient(x)
    torch.testing.assert_close(y, x.detach().relu())
    assert bool((y[x <= 0] == 0).all()), "exactly silent"
    y.sum().backward()
    other = x.detach().clone().requires_grad_()
    F.gelu(other).sum().backward()
    assert x.grad is not None and other.grad is not None
    torch.testing.assert_close(x.grad, other.grad)
    assert float(x.grad[29].abs()) > 0, "a silent feature still learns"


@pytest.mark.parametrize("hidden", [None, 20])
@pytest.mark.parametrize("shared", [True, False])
def test_codes_have_length_one_and_come_back_from_the_folder(tmp_path, hidden, shared):
    torch.manual_seed(0)
    head = NonNegativeHead(8, 8, 12, hidden, shared, {"model_name": "tiny"})
    assert isinstance(head, FeatureMap) and not isinstance(head, Decodable)
    acts = torch.randn(3, 5, 8)
    with torch.no_grad():
        codes = head.encode(acts, "image")
    assert codes.shape == (3, 5, 12) and bool((codes >= 0).all())
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(3, 5))
    assert torch.equal(codes, head.encode(acts, "text").detach()) == shared
    head.save(tmp_path / "head")
    assert sorted(p.name for p in (tmp_path / "head").iterdir()) == ["ncl.json", "ncl.safetensors"]
    again = NonNegativeHead.load(tmp_path / "head")
    assert again.metadata == {"model_name": "tiny"}
    for modality in MODALITIES:
        expected = head.encode(acts, modality).detach()
        assert torch.equal(again.encode(acts, modality), expected)


def test_no_active_feature_is_no_nan():
    head = NonNegativeHead(4, 4, 3)
    with torch.no_grad():
        weight, bias = head.projections["image"].parameters()
        weight.zero_()
        bias.fill_(-1.0)
    assert torch.equal(head.encode(torch.randn(2, 4), "image").detach(), torch.zeros(2, 3))


def test_towers_of_two_widths_need_a_projection_each():
    with pytest.raises(UserError, match=r"captions of width 6: .*shared=False"):
        NonNegativeHead(8, 6, 4)
    head = NonNegativeHead(8, 6, 4, shared=False)
    assert head.encode(torch.randn(2, 6), "text").shape == (2, 4)
    with pytest.raises(
        UserError, match="text side of the non-negative head takes activations of width 6"
    ):
        head.encode(torch.randn(2, 8), "text")


def test_no_head_and_damaged_ones_are_refused(tmp_path):
    with pytest.raises(UserError, match="holds no non-negative head"):
        NonNegativeHead.load(tmp_path)
    head = NonNegativeHead(8, 8, 4, shared=False)
    head.save(tmp_path)
    record = json.loads((tmp_path / "ncl.json").read_text())
    for wrong in ({**record, "n_features": 5}, {"d_image": 8}):
        (tmp_path / "ncl.json").write_text(json.dumps(wrong))
        with pytest.raises(UserError, match="is damaged: train it again"):
            NonNegativeHead.load(tmp_path)
    (tmp_path / "ncl.json").write_text(json.dumps(record))
    (tmp_path / "ncl.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="is damaged: train it again"):
        NonNegativeHead.load(tmp_path)
