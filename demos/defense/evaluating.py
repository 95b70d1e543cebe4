"""The evaluation on many pictures: accuracy over ε, what was tested, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mm_sae_plugin.applications.defense.contenders import NONE
from mm_sae_plugin.demos.defense.drawing import details, part, soft, table
from mm_sae_plugin.demos.defense.subject import called
from mm_sae_plugin.demos.defense.sweep_figure import KEY, curve_of, sweep_figure
from mm_sae_plugin.report.robustness import VERDICTS

_NONE = (
    "No evaluation was given: make one with <code>mm-sae robustness</code>, and show it with "
    "<code>--robustness robustness.json</code>."
)


def evaluated(record: Mapping[str, Any] | None) -> str:
    """Show an evaluation, or say that there is none."""
    if record is None:
        return part("The evaluation", soft(_NONE))
    rows = _first_seeds(record["arms"])
    rows.sort(key=lambda r: (r["kind"] != "undefended", r["kind"] != "shipped", -r["adaptive"]))
    swept, eps = [row for row in rows if row["sweep"]], record["settings"]["eps"]
    return _headline(record, rows, eps) + _curves(swept, eps) + _tests(record) + _claims(record)


def _first_seeds(arms: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the task that is judged on, the first training of each arm."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in arms:
        known = found.get(row["name"])
        if row["task"] == arms[0]["task"] and (known is None or row["seed"] < known["seed"]):
            found[row["name"]] = row
    return list(found.values())


def _headline(record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], eps: float) -> str:
    flattered = max(rows, key=lambda row: row["static"] - row["adaptive"])
    model = escape(str(record.get("model", "the encoder")))
    quick = "<b>This is a quick evaluation: enough to see that all works, not to judge.</b> "
    others = [row for row in rows if not row["sweep"]]
    told = f"Other defenses, attacked with PGD alone ({len(others)})"
    return part(
        "What a static evaluation would have told you",
        f"<p>{quick if record.get('quick') else ''}A static evaluation attacks with pictures that "
        "were made without knowing the defense. It would have told you that "
        f"“{escape(called(flattered['name']))}” is right on {flattered['static']:.0%} of attacked "
        f"pictures; attacks that go through it leave {flattered['adaptive']:.0%}.</p>",
        _table([row for row in rows if row["sweep"]]),
        details(told, _table(others)) if others else "",
        soft(
            f"Shares of pictures of which {model} tells the {escape(str(rows[0]['task']))} right, "
            f"at ε = {255 * eps:.3g}/255. Worst case: a picture counts if no attack found anything "
            "against it. In brackets the 95% interval of Wilson. First training of each arm."
        ),
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for row in rows:
        low, high = row["wilson"]
        shares = (f"{row['clean']:.2f}", f"{row['static']:.2f}")
        worst = f"<b>{row['adaptive']:.2f}</b> [{low:.2f}, {high:.2f}]"
        lines.append((escape(called(row["name"])), *shares, worst, f"{row['n']}"))
    return table(("defense", "as it is", "static", "adaptive, worst case", "pictures"), lines)


def _curves(rows: Sequence[Mapping[str, Any]], eps: float) -> str:
    curves = {row["name"]: curve_of(row, eps) for row in rows}
    bare = curves.get(NONE)
    drawn = [
        f"<div><h4>{escape(called(name))}</h4>"
        f"{sweep_figure(called(name), curve, None if name == NONE else bare)}</div>"
        for name, curve in curves.items()
    ]
    return part(
        "Accuracy over ε",
        KEY,
        f'<div class="df-grid">{"".join(drawn)}</div>',
        soft(
            f"At ε = {255 * eps:.3g}/255 all attacks count, on all pictures, with the interval; at "
            "others PGD alone, on some of them."
        ),
    )


def _tests(record: Mapping[str, Any]) -> str:
    tests = record["self_tests"]
    n_passed = sum(bool(test["passed"]) for test in tests.values())
    tested = escape(called(str(record.get("tested", {}).get("name", "the best one"))))
    if n_passed == len(tests):
        told = f"All {len(tests)} self-tests passed: nothing says that the attacks were too weak."
    else:
        told = (
            f"{len(tests) - n_passed} of {len(tests)} self-tests failed: do not trust the figures."
        )
    lines = [
        f"<li>{_passed(test)} <b>{escape(name.replace('_', ' '))}</b>: "
        f"{escape(str(test['told']))}</li>"
        for name, test in tests.items()
    ]
    return part(
        "Can the figures be believed?",
        f"<p><b>{told}</b> They were made on {tested}, which looked most robust.</p>",
        f'<ul class="df-tests">{"".join(lines)}</ul>',
    )


def _passed(test: Mapping[str, Any]) -> str:
    return "✓ passed" if test["passed"] else '<span class="df-wrong">✗ failed</span>'


def _claims(record: Mapping[str, Any]) -> str:
    lines = [
        f"<h4>{question}</h4><p><b>{escape(record[name]['verdict'].capitalize())}.</b> "
        f"{_with_code(record[name]['reason'])}</p>"
        for name, question in VERDICTS.items()
        if name in record
    ]
    return part("What follows", *lines, *_detectors(record.get("detection") or {}))


def _with_code(sentence: str) -> str:
    """Escape a sentence, and set its commands off."""
    parts = escape(sentence).split("`")
    return "".join(f"<code>{p}</code>" if at % 2 else p for at, p in enumerate(parts))


def _detectors(found: Mapping[str, Any]) -> list[str]:
    if not found:
        return []
    lines = []
    for name, one in found.items():
        passed = [f"{one[side]['evaded']:.0%}" for side in ("static", "adaptive")]
        lines.append((escape(name), f"{one['false_positives']:.0%}", *passed))
    heads = ("detector", "clean pictures flagged", "passed, not knowing it", "passed, knowing it")
    return [
        "<h4>Can attacked pictures be told from clean ones instead?</h4>",
        table(heads, lines),
        soft(
            "Passed: pictures that are told wrong and not flagged, of all that were attacked "
            "without knowing the detector, or knowing it."
        ),
    ]
