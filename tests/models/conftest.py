"""One tiny model per family for the whole session: building them is most of the time."""

from typing import Any

import pytest
import torch

from mm_sae_plugin.models import HookedCLIP
from tests.models.tiny import BUILDERS, Tiny, build

FAMILIES = [*BUILDERS, "hugging-face-text"]

_built: dict[str, Tiny] = {}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two OpenMP threads on a busy small machine can be 50 times slower than one."""
    torch.set_num_threads(1)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """The name of a family, each in turn."""
    return request.param


@pytest.fixture
def tiny(family: str, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The family's tiny model, freshly free of hooks and gradients."""
    if family not in _built:
        _built[family] = build(family, tmp_path_factory.mktemp("text"))
    tiny = _built[family]
    tiny.clip.eval()
    tiny.clip.zero_grad(set_to_none=True)
    return tiny


@pytest.fixture
def model(tiny: Tiny) -> HookedCLIP:
    """The family's tiny model with hook points."""
    return HookedCLIP.wrap(tiny.clip, name="tiny")


@pytest.fixture
def vit() -> Tiny:
    """A small open_clip ViT of its own, which a test may spoil."""
    return build("vit")


@pytest.fixture
def vit_model(vit: Tiny) -> HookedCLIP:
    """The small ViT with hook points and a toy tokenizer."""
    return HookedCLIP.wrap(vit.clip, tokenizer=toy_tokenizer, name="tiny")


def toy_tokenizer(captions: list[str]) -> Any:
    """Turn letters into token ids."""
    tokens = torch.zeros(len(captions), 12, dtype=torch.long)
    for row, caption in enumerate(captions):
        ids = [3 + ord(letter) % 90 for letter in caption[:11]]
        tokens[row, : len(ids) + 1] = torch.tensor([*ids, 99])
    return tokens
