import pytest
from sae_lens import TrainingSAE
from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes import training_sae_config


@pytest.mark.parametrize("architecture", sorted(SAE_TRAINING_CLASS_REGISTRY))
def test_every_registered_architecture_builds(architecture):
    cfg = training_sae_config(architecture, d_in=8, d_sae=32, k=4)
    assert cfg.architecture() == architecture
    assert TrainingSAE.from_dict(cfg.to_dict()).W_dec.shape == (32, 8)


def test_penalties_follow_the_scale_of_the_activations():
    def coefficient(architecture: str, name: str, norm: float) -> float:
        cfg = training_sae_config(architecture, d_in=4, d_sae=8, k=2, input_norm=norm)
        return getattr(cfg, name)

    # sqrt(4) = 2 is SAELens' own unit; ten times the norm is ten times the L1, a hundred the L0.
    assert coefficient("standard", "l1_coefficient", 20.0) == pytest.approx(
        10 * coefficient("standard", "l1_coefficient", 2.0)
    )
    assert coefficient("jumprelu", "l0_coefficient", 20.0) == pytest.approx(
        100 * coefficient("jumprelu", "l0_coefficient", 2.0)
    )


@pytest.mark.parametrize("d_sae", [4, 5, 9, 64])
def test_matryoshka_widths_grow_to_the_whole(d_sae):
    cfg = training_sae_config("matryoshka_batchtopk", d_in=8, d_sae=d_sae, k=4)
    widths = cfg.matryoshka_widths  # pyright: ignore[reportAttributeAccessIssue]
    assert widths == sorted(set(widths)) and widths[-1] == d_sae and widths[0] >= 4


def test_unknown_names_are_told_with_the_known_ones():
    with pytest.raises(UserError, match=r"Unknown architecture 'relu': choose one of abstopk, "):
        training_sae_config("relu", d_in=8, d_sae=16, k=2)
