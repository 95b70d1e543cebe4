"""Drawing with the parts of a pipeline: every row from its own seed, whatever the batch."""

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")

from mm_sae_plugin.applications.steering.kandinsky import KandinskyDrawing
from mm_sae_plugin.factorworld.generator import DEFAULTS
from tests.factorworld.generator.tiny import tiny_pipeline

PROMPTS = ["one big red ball left", "two small blue cars right", "one big red ball left"]
FEW = DEFAULTS | {"num_inference_steps": 2, "prior_num_inference_steps": 2}


@pytest.fixture(scope="module")
def drawing():
    return KandinskyDrawing(tiny_pipeline(), FEW)


def test_rows_depend_on_prompt_and_seed_alone(drawing):
    vectors = drawing.embeddings(PROMPTS, [3, 4, 5])
    assert vectors.shape == (3, 128) and vectors.dtype == torch.float32
    alone = drawing.embeddings(PROMPTS[1:2], [4])
    assert torch.allclose(vectors[1:2], alone, atol=1e-5)
    assert not torch.allclose(vectors[0], vectors[2], atol=1e-3)
    pictures = drawing.draw(vectors, [3, 4, 5])
    assert pictures.shape == (3, 64, 64, 3) and pictures.dtype == np.uint8
    alone = drawing.draw(vectors[1:2], [4])
    assert np.abs(pictures[1].astype(int) - alone[0]).max() <= 1
    assert not np.array_equal(pictures[1], drawing.draw(vectors[1:2], [9])[0])
    moved = drawing.draw(-vectors[1:2], [4])
    assert not np.array_equal(pictures[1], moved[0])
