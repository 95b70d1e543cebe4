"""What an attack moves, latent by latent and class by class."""

import torch

from mm_sae_plugin.applications.defense.movement import Movement
from mm_sae_plugin.applications.defense.one_picture import as_kept
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.study import Study


def test_changes_are_ranked_and_summed_over_classes():
    moved = Movement(torch.tensor([0.0, 2.0, 1.0, 0.5]), torch.tensor([0.0, 0.5, 2.0, 0.25]))
    assert moved.change.tolist() == [0, -1.5, 1, -0.25]
    assert moved.strongest(2) == [1, 2] and moved.strongest(9) == [1, 2, 3]
    found = moved.by_class(["ImgD", "ImgD", "CrossD", "ImgD"])
    assert found == {"CrossD": 1.0, "ImgD": 1.75}


def test_codes_are_those_behind_the_defense(small_sae):
    study = Study.open(small_sae)
    task = Task.of_world("object", 2)
    bare = Victim(study.model, task.classes(study.model))
    clean = as_kept(bare.pixels(task.pictures[:1]))
    moved = as_kept((clean + 0.05).clamp(0, 1))
    found = Movement.of(bare, study.feature_map, clean, moved)
    with torch.no_grad():
        codes = study.feature_map.encode(bare.vectors(moved), "image")[0]
    torch.testing.assert_close(found.after, codes, atol=1e-5, rtol=0)
    assert found.strongest(1)
    # A defense that gives every picture the same vector lets nothing through.
    still = Victim(study.model, bare.classes, lambda rows: torch.ones_like(rows))
    assert not Movement.of(still, study.feature_map, clean, moved).strongest(1)
