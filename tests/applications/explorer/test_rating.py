"""Blind ratings are kept, and compared with the classes once there are enough."""

import pytest

from mm_sae_plugin.applications.explorer.rating import (
    ANSWERS,
    Rating,
    agreement,
    load_ratings,
    save_rating,
)
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.agreement import cohen_kappa


def test_ratings_survive_a_file(tmp_path):
    path = tmp_path / "ratings.csv"
    assert load_ratings(path) == []
    given = [Rating(3, "both", "CrossD"), Rating(5, "cannot tell", "ImgD")]
    for rating in given:
        save_rating(path, rating)
    assert load_ratings(path) == given
    with pytest.raises(UserError, match="Choose one answer of vision, language"):
        save_rating(path, Rating(1, "smell", "ImgD"))
    path.write_text("something else")
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="holds no blind ratings"):
        load_ratings(path)


def test_agreement_is_kappa_with_an_interval():
    right = [Rating(i, answer, name) for i, (answer, name) in enumerate([*ANSWERS.items()] * 5)]
    assert agreement(right[:9]) is None
    whole = agreement(right)
    assert whole is not None and (whole.n, whole.kappa, whole.low, whole.high) == (20, 1, 1, 1)
    mixed = [*right, *(Rating(99, "vision", "TextD") for _ in range(10))]
    found = agreement(mixed)
    answers, classes = zip(*((ANSWERS[r.answer], r.modality_class) for r in mixed), strict=True)
    assert found is not None and found.kappa == cohen_kappa(answers, classes)
    assert found.kappa is not None and found.low is not None and found.high is not None
    assert found.low < found.kappa < found.high < 1
    alike = agreement([Rating(i, "both", "CrossD") for i in range(12)])
    assert alike is not None and alike.kappa is None
