"""The index holds every latent once, in few bytes."""

import json

from mm_sae_plugin.report.index import N_STATIC, index_table
from mm_sae_plugin.report.latent_cards import LatentCards
from tests.report.hard import N_DENSE, N_NEVER, hard_case
from tests.report.world import make_case


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
