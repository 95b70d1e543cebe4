"""The index holds every latent once, in few bytes."""

import json

from mm_sae_plugin.report.index import N_STATIC, index_table
from mm_sae_plugin.report.latent_cards import LatentCards
from mm_sae_plugin.stats import ModalityDominance
from tests.report.hard import N_DENSE, N_NEVER, hard_case
from tests.report.world import make_case, rare_statistics


def test_every_latent_has_one_line_that_says_what_is_known():
    case = hard_case(600, 300)
    cards = LatentCards(case.dominance, case.examples, case.store, None)
    table = index_table(case.dominance, cards, [5, 12])
    columns = table["columns"]
    assert sorted(columns["latent"]) == list(range(300)) and table["n"] == 300
    line = {latent: i for i, latent in enumerate(columns["latent"])}
    names = [table["names"][number] for number in columns["class"]]
    for latent in range(300):
        assert names[line[latent]] == case.dominance.classes[latent]
    assert [i for i in range(300) if columns["dense"][line[i]]] == list(range(N_DENSE))
    assert [i for i in range(300) if columns["card"][line[i]]] == [5, 12]
    never = [i for i in range(300) if columns["score"][line[i]] is None]
    assert set(range(300 - N_NEVER, 300)) <= set(never)
    # Latents of subjects are found by the word that their captions share.
    assert columns["about"][line[N_DENSE]] == "cat"
    assert columns["about"][line[N_DENSE + 1]] == "lighthouse"
    assert [row["latent"] for row in table["rows"]] == columns["latent"][:N_STATIC]
    assert len(json.dumps(columns)) < 300 * 120


def test_known_factors_come_first():
    case = make_case(300)
    cards = LatentCards(case.dominance, case.examples, case.store, case.truth)
    columns = index_table(case.dominance, cards, [])["columns"]
    for latent, entry in case.truth.by_latent().items():
        about = columns["about"][columns["latent"].index(latent)]
        assert about.startswith(f"{entry.factor} = {entry.value or '(absent)'}")


def test_dead_latents_have_no_score_and_rates_above_0_stay_above_it():
    dominance = ModalityDominance.from_statistics(rare_statistics())
    assert dominance.classes[1:] == ["Dead", "Dead"] and dominance.classes[0] != "Dead"
    columns = index_table(dominance, LatentCards(dominance, None, None, None), [])["columns"]
    line = {latent: i for i, latent in enumerate(columns["latent"])}
    scores, images, captions = (
        [columns[name][line[latent]] for latent in range(3)] for name in ("score", "image", "text")
    )
    assert scores[0] is not None and scores[1:] == [None, None]
    assert images == [50.0, 0.0, 0.0] and captions == [50.0, 0.01, 0.0]
