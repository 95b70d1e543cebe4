"""What is kept beside the labels of how stable they are."""

import json

import pytest

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import folder_files
from mm_sae_plugin.stats.stability_note import SeedNote, StabilityNote, labels_id, read_stability

CLASSES = ["ImgD", "TextD", "Dead"]


def note(*seeds: SeedNote) -> StabilityNote:
    return StabilityNote(seeds, 0.7, labels_id(CLASSES))


def test_it_is_read_back_beside_the_labels_that_it_is_about(tmp_path):
    assert read_stability(tmp_path, CLASSES) is None
    kept = note(SeedNote(1, 484, 380, 297, 0.31), SeedNote(2, 484, 0, 0, None))
    kept.save(tmp_path)
    assert read_stability(tmp_path, CLASSES) == kept
    json.loads((tmp_path / "stability.json").read_text(), parse_constant=pytest.fail)
    # Of other labels it says nothing.
    assert read_stability(tmp_path, ["ImgD", "CrossD", "Dead"]) is None
    # Nor of another SAE in the same folder.
    folder_files.remove_derived(tmp_path)
    assert read_stability(tmp_path, CLASSES) is None


def test_it_is_one_sentence():
    assert note(SeedNote(1, 484, 380, 297, 0.312)).sentence() == (
        "Of the latents alive, 297 of 484 (61%, 57–66%) keep their class in an SAE from another "
        "seed; of those that it has, too (decoder cosine of at least 0.7), 297 of 380 (78%, "
        "74–82%) do, by chance 31%."
    )
    many = note(SeedNote(1, 484, 380, 297, 0.3), SeedNote(2, 484, 400, 280, 0.32))
    assert many.sentence() == (
        "Of 484 latents alive, 58–61% keep their class in an SAE from another seed (2 were "
        "trained); of those that it has, too (decoder cosine of at least 0.7), 70–78% do, by "
        "chance 31%."
    )
    nothing = note(SeedNote(1, 484, 0, 0, None)).sentence()
    assert "none of 0 do." in nothing


@pytest.mark.parametrize("content", ["{", "[]", '{"seeds": [{}]}', '{"seeds": 3}'])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, content):
    (tmp_path / "stability.json").write_text(content)
    with pytest.raises(UserError, match=r"stability\.json cannot be read .* mm-sae evaluate"):
        read_stability(tmp_path, CLASSES)


def test_a_file_that_was_changed_is_named(tmp_path):
    note(SeedNote(1, 484, 380, 297, 0.31)).save(tmp_path)
    path = tmp_path / "stability.json"
    path.write_text(path.read_text().replace("297", "397"))
    with pytest.raises(UserError, match=r"stability\.json is not as it was written"):
        read_stability(tmp_path, CLASSES)
