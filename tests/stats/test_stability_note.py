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
    kept = note(SeedNote(1, 484, 184, 307, 187, 176, 0.31), SeedNote(2, 484, 0, 307, 0, 0, None))
    kept.save(tmp_path)
    assert read_stability(tmp_path, CLASSES) == kept
    json.loads((tmp_path / "stability.json").read_text(), parse_constant=pytest.fail)
    # Of other labels it says nothing.
    assert read_stability(tmp_path, ["ImgD", "CrossD", "Dead"]) is None
    # Nor of another SAE in the same folder.
    folder_files.remove_derived(tmp_path)
    assert read_stability(tmp_path, CLASSES) is None


def test_it_is_said_in_a_line():
    assert note(SeedNote(1, 484, 184, 307, 187, 176, 0.332)).sentence() == (
        "Another seed: of 307 latents with a modality class, 57% (52–63%) keep it; of 187 that its "
        "SAE has, too (decoder cosine of at least 0.7), 94% (90–97%), by chance 33%. Of all 484 "
        "alive, Undetermined included, 38% (34–42%)."
    )
    many = note(
        SeedNote(1, 484, 184, 307, 187, 176, 0.3), SeedNote(2, 484, 200, 307, 200, 180, 0.32)
    )
    assert many.sentence() == (
        "2 other seeds: of 307 latents with a modality class, 57–59% keep it; of those that its "
        "SAE has, too (decoder cosine of at least 0.7), 90–94%, by chance 31%. Of all 484 alive, "
        "Undetermined included, 38–41%."
    )
    nothing = note(SeedNote(1, 484, 0, 0, 0, 0, None)).sentence()
    assert "of 0 latents with a modality class, none keep it" in nothing and "chance" not in nothing


@pytest.mark.parametrize("content", ["{", "[]", '{"seeds": [{}]}', '{"seeds": 3}'])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, content):
    (tmp_path / "stability.json").write_text(content)
    with pytest.raises(UserError, match=r"stability\.json cannot be read .*mm-sae evaluate"):
        read_stability(tmp_path, CLASSES)


def test_a_file_that_was_changed_is_named(tmp_path):
    note(SeedNote(1, 484, 184, 307, 187, 176, 0.31)).save(tmp_path)
    path = tmp_path / "stability.json"
    path.write_text(path.read_text().replace("176", "186"))
    with pytest.raises(UserError, match=r"stability\.json is not as it was written"):
        read_stability(tmp_path, CLASSES)
