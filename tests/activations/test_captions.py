"""Captions that are encoded no further than where the model reads them."""

from typing import Any

import pytest
import torch

from mm_sae_plugin.activations import ExtractConfig
from mm_sae_plugin.activations.capture import HookReader
from mm_sae_plugin.models import HookedCLIP

CTX = 40
END = 49


def captions(n: int, longest: int = CTX) -> torch.Tensor:
    """Return tokens of captions of all lengths up to one, padded behind their end."""
    generator = torch.Generator().manual_seed(n)
    lengths = torch.randint(2, longest + 1, (n,), generator=generator)
    tokens = torch.randint(1, END, (n, CTX), generator=generator)
    places = torch.arange(CTX)
    tokens[places == lengths[:, None] - 1] = END
    tokens[places >= lengths[:, None]] = 0
    return tokens


def clip_on_root(context: int = CTX, **text: Any) -> HookedCLIP:
    from open_clip.model import CLIP

    torch.manual_seed(0)
    vision = dict(layers=1, width=32, head_width=16, patch_size=8, image_size=16)
    said = dict(context_length=context, vocab_size=50, width=64, heads=4, layers=2, **text)
    return HookedCLIP.wrap(CLIP(32, vision, said).eval(), name="tiny")  # type: ignore[arg-type]


def clip_with_text() -> HookedCLIP:
    from open_clip.model import CustomTextCLIP

    torch.manual_seed(0)
    vision = dict(layers=1, width=32, head_width=16, patch_size=8, image_size=16)
    said = dict(context_length=CTX, vocab_size=50, width=64, heads=4, layers=2)
    clip = CustomTextCLIP(32, vision, said).eval()  # type: ignore[arg-type]
    return HookedCLIP.wrap(clip, name="tiny")


def transformers_clip() -> HookedCLIP:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    size = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    text = dict(size, vocab_size=50, max_position_embeddings=CTX, eos_token_id=END)
    vision = dict(size, image_size=16, patch_size=8)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
    return HookedCLIP.wrap(CLIPModel(config).eval(), name="tiny")


def watched(model: HookedCLIP, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the shapes of the captions that a model will be given."""
    shapes: list[tuple[int, ...]] = []
    forward = HookedCLIP.forward

    def noted(self: HookedCLIP, *args: Any, **kwargs: Any) -> Any:
        shapes.append(tuple(kwargs["texts"].shape))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(HookedCLIP, "forward", noted)
    return shapes


def read(model: HookedCLIP, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    cfgs = [ExtractConfig(text_hook=f"text.hook_{site}") for site in ("pooled", "normalized")]
    with HookReader(model, *cfgs).attached() as reader:
        return reader.texts(tokens)


def whole(model: HookedCLIP, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        _, cache = model.run_with_cache(texts=tokens)
    return {name: cache[name] for name in ("text.hook_pooled", "text.hook_normalized")}


@pytest.mark.parametrize("make", [clip_on_root, clip_with_text, transformers_clip])
def test_short_captions_are_encoded_short_and_to_the_same_bits(make, monkeypatch):
    model, tokens = make(), captions(300)
    wanted = whole(model, tokens)
    before = {name: value.clone() for name, value in model.clip.named_parameters()}
    shapes = watched(model, monkeypatch)

    found = read(model, tokens)

    assert all(torch.equal(found[name], rows) for name, rows in wanted.items())
    # Each length once in full beside; the longest group has what is left of 300.
    assert {shape for shape in shapes if shape[1] < CTX} == {(64, n) for n in (16, 24, 32)}
    assert (300 - 3 * 64, CTX) in shapes
    after = dict(model.clip.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(whole(model, tokens)["text.hook_pooled"], wanted["text.hook_pooled"])


def test_a_length_that_gives_other_bits_is_encoded_whole_ever_after(monkeypatch):
    model, tokens = clip_on_root(), captions(128, longest=16)
    wanted = whole(model, tokens)
    positions: Any = model.clip.positional_embedding

    def changed(self: Any, clip: Any, n_tokens: int) -> Any:
        from contextlib import contextmanager

        @contextmanager
        def moved() -> Any:
            clip.positional_embedding = torch.nn.Parameter(positions[:n_tokens] + 1e-6)
            mask, clip.attn_mask = clip.attn_mask, clip.attn_mask[:n_tokens, :n_tokens]
            yield
            clip.positional_embedding, clip.attn_mask = positions, mask

        return moved()

    monkeypatch.setattr(type(model.family), "of_fewer_tokens", changed)
    shapes = watched(model, monkeypatch)
    found = read(model, tokens)
    assert all(torch.equal(found[name], rows) for name, rows in wanted.items())
    n_short = sum(length < CTX for _, length in shapes)
    assert n_short == len({length for _, length in shapes if length < CTX})


def test_a_tower_that_reads_the_last_token_is_given_all_of_it(monkeypatch):
    model, tokens = clip_on_root(pool_type="last"), captions(64, longest=9)
    shapes = watched(model, monkeypatch)
    read(model, tokens)
    assert shapes == [(64, CTX)]


def test_few_captions_are_encoded_at_once(monkeypatch):
    model, tokens = clip_on_root(), captions(63, longest=9)
    shapes = watched(model, monkeypatch)
    read(model, tokens)
    assert shapes == [(63, CTX)]
