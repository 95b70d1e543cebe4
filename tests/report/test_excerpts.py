"""Long captions are cut where a reader would cut them."""

import unicodedata

from mm_sae_plugin.report.excerpts import Excerpt, clipped
from tests.report.hard import SPECIAL


def _text(pieces) -> str:
    return "".join(piece.text for piece in pieces)


def test_a_short_caption_is_shown_as_it_is():
    excerpt = Excerpt.of("two  red\ncars", ["red"])
    assert excerpt.short == [("two ", False), ("red", True), (" cars", False)]
    assert excerpt.whole is None and excerpt.n_left_out == 0
    assert Excerpt.of("").short == []


def test_a_long_caption_is_cut_between_words_and_kept_whole():
    caption = " ".join(f"word{i}" for i in range(400))
    excerpt = Excerpt.of(caption)
    short = _text(excerpt.short)
    assert len(short) < 190 and short.endswith(" …")
    assert caption.startswith(short.removesuffix(" …") + " ")
    assert excerpt.whole is not None and _text(excerpt.whole) == caption


def test_the_cut_moves_to_the_first_shared_word():
    words = [f"word{i}" for i in range(400)]
    words[300] = "Lighthouse"
    excerpt = Excerpt.of(" ".join(words), ["lighthouse"])
    assert ("Lighthouse", True) in excerpt.short
    short = _text(excerpt.short)
    assert short.startswith("… word29") and short.endswith(" …") and len(short) < 200
    # At the very end nothing is left to cut.
    words = [f"word{i}" for i in range(400)] + ["lighthouse"]
    assert _text(Excerpt.of(" ".join(words), ["lighthouse"]).short).endswith("lighthouse")


def test_whole_documents_are_not_carried_along():
    excerpt = Excerpt.of("word " * 10_000)
    assert excerpt.whole is not None
    assert len(_text(excerpt.whole)) + excerpt.n_left_out == len("word " * 10_000) - 1
    assert len(_text(excerpt.whole)) <= 6000


def test_nothing_is_cut_inside_a_character():
    family, accented = "👨‍👩‍👧‍👦", "e\u0301"
    for unit in (family, accented, "👩🏽", "é", "黒"):
        for lead in range(12):
            cut = clipped("x" * lead + unit * 100, 60).removesuffix(" …")
            assert cut.removeprefix("x" * lead).replace(unit, "") == "", (unit, lead)
    for caption in SPECIAL:
        short = _text(Excerpt.of(caption).short).removesuffix(" …")
        assert caption.startswith(short)
        assert not unicodedata.category((short or "x")[-1]).startswith("C")
