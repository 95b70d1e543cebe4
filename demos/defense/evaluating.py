"""The evaluation on many pictures: accuracy over ε, what was tested, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mm_sae_plugin.applications.defense.contenders import NONE
from mm_sae_plugin.demos.defense.drawing import part, soft, table
from mm_sae_plugin.demos.defense.subject import called
from mm_sae_plugin.demos.defense.sweep_figure import KEY, curve_of, sweep_figure

_NONE = (
    "No evaluation was given: make one with <code>mm-sae robustness</code>, and show it with "
    "<code>--robustness robustness.json</code>."
)


def evaluated(record: Mapping[str, Any] | None) -> str:
    """Show an evaluation, or say that there is none."""
    if record is None:
        return part("The evaluation", soft(_NONE))
    task, eps = record["arms"][0]["task"], record["settings"]["eps"]
    rows = [row for row in record["arms"] if row["task"] == task and row["sweep"]]
    rows.sort(
        key=lambda row: (row["kind"] != "undefended", row["kind"] != "shipped", -row["adaptive"])
    )
    return _headline(record, rows, eps) + _curves(rows, eps) + _tests(record) + _claims(record)


def _headline(record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], eps: float) -> str:
    lines = []
    for row in rows:
        low, high = row["wilson"]
        lines.append(
            (
                escape(called(row["name"])),
                f"{row['clean']:.2f}",
                f"{row['static']:.2f}",
                f"<b>{row['adaptive']:.2f}</b> [{low:.2f}, {high:.2f}]",
                f"{row['n']}",
            )
        )
    heads = ("defense", "as it is", "static", "adaptive, worst case", "pictures")
    flattered = max(rows, key=lambda row: row["static"] - row["adaptive"], default=None)
    told = ""
    if flattered is not None:
        told = (
            "<p>A static evaluation attacks with pictures that were made without knowing the "
            f"defense. It would have told you that “{escape(called(flattered['name']))}” is right "
            f"on {flattered['static']:.0%} of attacked pictures; attacks that go through it leave "
            f"{flattered['adaptive']:.0%}.</p>"
        )
    task = escape(str(rows[0]["task"])) if rows else ""
    model = escape(str(record.get("model", "the encoder")))
    return part(
        "What a static evaluation would have told you",
        told,
        table(heads, lines),
        soft(
            f"Shares of pictures of which {model} tells the {task} right, at ε = {255 * eps:.3g}/"
            "255. Worst case: a picture counts if no attack found anything against it. In brackets "
            "the 95% interval of Wilson. First training of each arm."
        ),
    )


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
    asked = {
        "claim_c5": "Does aligning text-dominant features (TextD) defend best, as was claimed?",
        "beats_fare": "Is anything better than FARE, which aligns the whole embedding?",
    }
    lines = [
        f"<h4>{question}</h4><p><b>{escape(record[name]['verdict'].capitalize())}.</b> "
        f"{escape(record[name]['reason'])}</p>"
        for name, question in asked.items()
        if name in record
    ]
    return part("What follows", *lines)
