"""What is evaluated: in which order, and that no contender's hooks reach another's model."""

import pytest
import torch

from mm_sae_plugin.applications.defense.contenders import contenders, tower_copy
from mm_sae_plugin.applications.defense.towers import ImageTower, read_towers, save_tower
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import load_model

SHIPPED = "factorworld-robust"


@pytest.fixture(scope="module")
def model():
    return load_model("factorworld")


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def tower_of(base, folder, arm="FARE", seed=1):
    """Save a tower whose first moved parameter is doubled; open it."""
    tower = ImageTower(tower_copy(base))
    with torch.no_grad():
        next(iter(tower.moved().values())).mul_(2)
    save_tower(folder / f"{arm} {seed}", tower, base, {"arm": arm, "seed": seed})
    return read_towers(folder)


def same(rows):
    return rows.clone()


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("towers")
    tower_of(model, folder, "TextD", 2)
    towers = tower_of(model, folder, "FARE", 1)
    return contenders(model, towers, {"second": same, "first": same})


def test_the_undefended_encoder_comes_first(found, model):
    assert [(each.name, each.kind, each.seed) for each in found] == [
        ("none", "undefended", 0),
        (SHIPPED, "shipped", 0),
        ("FARE", "fine-tuned", 1),
        ("TextD", "fine-tuned", 2),
        ("second", "training-free", 0),
        ("first", "training-free", 0),
    ]
    assert found[0].model is model and found[0].change is None
    assert [each.change for each in found[-2:]] == [same, same]


def test_no_tower_is_shipped_for_another_encoder():
    assert [each.name for each in contenders(load_model("factorworld-biased"))] == ["none"]
    assert [each.name for each in contenders(load_model(SHIPPED))] == ["none"]


def test_towers_see_otherwise_and_changes_alone_do_not(found, pixels):
    with torch.no_grad():
        rows = {each.name: each.model.encode_image(pixels, normalize=True) for each in found}
    for name in (SHIPPED, "FARE", "TextD"):
        assert not rows[name].allclose(rows["none"], atol=1e-3), name
    assert rows["first"].equal(rows["none"]) and rows["second"].equal(rows["none"])


def test_hooks_of_one_do_not_reach_the_others(found, pixels):
    def silence(acts, hook):
        return torch.zeros_like(acts)

    with torch.no_grad():
        before = [each.model.encode_image(pixels) for each in found]
        for hooked in found:
            with hooked.model.hooks(fwd_hooks=[("vision.hook_proj", silence)]):
                during = [each.model.encode_image(pixels) for each in found]
            for each, was, now in zip(found, before, during, strict=True):
                assert now.equal(was) == (each is not hooked), (hooked.name, each.name)


def test_a_defense_is_in_the_victim(model, pixels):
    last = contenders(model, changes={"flipped": lambda rows: rows.flip(1)})[-1]
    classes = torch.eye(128)[:3]
    with torch.no_grad():
        bare = contenders(model)[0].victim(classes).vectors(pixels)
        torch.testing.assert_close(last.victim(classes).vectors(pixels), bare.flip(1))


def test_a_tower_of_another_encoder_is_refused(model, tmp_path):
    towers = tower_of(load_model("factorworld-biased"), tmp_path)
    with pytest.raises(UserError, match=r"made from factorworld-biased .*not from factorworld \("):
        contenders(model, towers)


def test_a_damaged_tower_is_refused(model, tmp_path):
    (tower,) = tower_of(model, tmp_path)
    weights = tower.path / "tower.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="is gone or damaged"):
        contenders(model, [tower])
