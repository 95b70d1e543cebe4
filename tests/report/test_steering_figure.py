"""Which dots of the figure are ringed."""

from mm_sae_plugin.report.steering import undominated


def _row(control, kept):
    return {"control": control, "kept": kept}


def test_dots_that_no_other_beats():
    best = [_row(0.9, 0.1), _row(0.5, 0.5), _row(0.1, 0.9)]
    beaten = [_row(0.5, 0.4), _row(0.05, 0.9), _row(0.0, 0.0)]
    assert undominated([*beaten, *best]) == best
    # Equal ones do not beat each other.
    assert undominated([best[0], dict(best[0])]) == [best[0]] * 2
