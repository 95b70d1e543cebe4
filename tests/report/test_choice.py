"""Which latents get a card, and what the paper's rule does to their classes."""

import pytest
import torch

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.report import terminal_table
from mm_sae_plugin.report.borders import _written, border_warning
from mm_sae_plugin.report.choice import latents_to_show, parse_latents, ranked_latents
from mm_sae_plugin.stats import ModalityDominance, ModalityStatistics
from mm_sae_plugin.stats.config import RuleName
from tests.report.hard import N_DENSE, hard_case


def _dominance(rates: list[tuple[float, float]], rule: RuleName = "interval") -> ModalityDominance:
    """One latent for each pair of rates on images and on captions, of 400 pairs."""
    order = torch.linspace(0, 1, 401)[:-1, None]
    image, text = torch.tensor(rates).T
    stats = ModalityStatistics(len(rates))
    # Shifted, so that the two sides fire on different pairs where they can.
    stats.update(1.0 * (order < image), 1.0 * (1 - order <= text), torch.arange(400))
    return ModalityDominance.from_statistics(stats, rule=rule)


def test_dense_latents_do_not_head_a_list():
    # Of those for images the dense one is the most certain.
    dominance = _dominance([(0.9, 0.0), (0.2, 0.0), (0.1, 0.0), (0.0, 0.3)])
    assert dominance.strongest("ImgD", 3) == [0, 1, 2]
    assert ranked_latents(dominance)["ImgD"] == [1, 2, 0]
    shown = latents_to_show(dominance, 2)
    assert shown == {"ImgD": [1, 2], "TextD": [3], "CrossD": []}
    from rich.console import Console

    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_table(dominance))
    assert "#1 " in console.export_text()


def test_every_latent_is_ranked_once_whatever_its_class():
    case = hard_case(400, 120)
    ranked = ranked_latents(case.dominance)
    assert sorted(i for members in ranked.values() for i in members) == list(range(120))
    for name, members in ranked.items():
        assert set(members) == set(case.dominance.latents(name))
        dense = [i < N_DENSE for i in members]
        assert dense == sorted(dense)


def test_latents_are_read_from_the_command_line():
    assert parse_latents("12,77", 100) == [12, 77]
    assert parse_latents(" 7, 0,7,", 8) == [7, 0]
    for given, said in {
        "8": "no latent 8: this SAE has 8, numbered from 0 to 7",
        "3,-1": "no latent -1",
        "3;4": "'3;4' is no number of a latent",
        "1_0": "'1_0' is no number",
        "²": "'²' is no number",
        ",": "No latent was given",
    }.items():
        with pytest.raises(UserError, match=said):
            parse_latents(given, 8)


def test_the_papers_borders_are_questioned_in_page_and_terminal():
    """Most latents at 0 and a few at 1: mean − std lies below 0, so those at 0 are CrossD."""
    rates = [(0.0, 0.2)] * 8 + [(0.2, 0.0)] * 2
    assert border_warning(_dominance(rates)) is None
    warning = border_warning(_dominance(rates, "paper"))
    # Mean 0.2, standard deviation 0.4.
    assert warning is not None
    assert "here at −0.20 and 0.60 (one border lies off the scale" in warning
    assert "no latent can be TextD)" in warning
    assert "calls 8 latents CrossD although" in warning
    # A border just beyond the scale is written so that one sees it.
    beyond = border_warning(_dominance([(0.0, 0.2)] * 7 + [(0.2, 0.0)] * 7, "paper"))
    assert beyond is not None and "here at 0.00 and 1.00 (both lie" in beyond
    assert _written(-0.0031) == "−0.003" and _written(1.0004) == "1.0004"
    assert _written(0.312) == "0.31" and _written(1.0) == "1.00"
    assert warning.count(". ") == 0 and warning.endswith(".")
    from rich.console import Console

    console = Console(width=1000, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(terminal_table(_dominance(rates, "paper")))
    assert warning in console.export_text()


def test_the_papers_rule_is_questioned_even_where_its_borders_fit():
    warning = border_warning(_dominance([(0.2, 0.1), (0.2, 0.2), (0.1, 0.2)], "paper"))
    assert warning is not None and "off the scale" not in warning and "calls" not in warning
    nothing = ModalityDominance.from_statistics(ModalityStatistics(2), rule="paper")
    warning = border_warning(nothing)
    assert warning is not None and "nan" not in warning


def test_a_negative_number_of_latents_is_refused():
    dominance = _dominance([(0.2, 0.1)])
    assert latents_to_show(dominance, 0)["ImgD"] == []
    with pytest.raises(UserError, match="n_per_class"):
        latents_to_show(dominance, -1)
