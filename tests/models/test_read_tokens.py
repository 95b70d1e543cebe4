"""How much of a caption its embedding is made of, for every family."""

import torch

from mm_sae_plugin.models import HookedCLIP
from tests.models.tiny import CTX, Tiny


def embedded(model: HookedCLIP, tokens: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.encode_text(tokens)


def test_tokens_behind_those_that_are_read_change_nothing(tiny: Tiny, model: HookedCLIP):
    _, tokens = tiny.inputs()
    n_read = model.family.n_read_tokens(model.clip, tokens)
    other = tokens.clone()
    first = torch.full((len(tokens),), CTX - 1) if n_read is None else n_read
    other[torch.arange(CTX) >= first[:, None]] = 1
    same = torch.equal(embedded(model, tokens), embedded(model, other))
    # Where it is said not to be known, the last token is indeed read.
    assert same == (n_read is not None)


def test_captions_can_be_cut_to_what_is_read(tiny: Tiny, model: HookedCLIP):
    _, tokens = tiny.inputs()
    n_read = model.family.n_read_tokens(model.clip, tokens)
    if n_read is None:
        return
    n_tokens = int(n_read.max())
    assert n_tokens < CTX
    whole = embedded(model, tokens)
    state = {name: value.data_ptr() for name, value in model.clip.state_dict().items()}
    with model.family.of_fewer_tokens(model.clip, n_tokens):
        short = embedded(model, tokens[:, :n_tokens])
    torch.testing.assert_close(short, whole, rtol=1e-5, atol=1e-6)
    assert torch.equal(embedded(model, tokens), whole)
    assert {name: value.data_ptr() for name, value in model.clip.state_dict().items()} == state


def test_the_read_position_decides(tiny: Tiny, model: HookedCLIP):
    _, tokens = tiny.inputs()
    n_read = model.family.n_read_tokens(model.clip, tokens)
    if n_read is None:
        return
    # Every caption of `inputs` ends at another place.
    assert n_read.tolist() == [5, 6, 7]
