"""The templates of the page: Jinja2, which escapes whatever it is given."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mm_sae_plugin.report.palette import COLOURS, MEANINGS


def rendered(template: str, values: Mapping[str, Any]) -> Markup:
    """Fill in one of the files in ``templates/``; a name that is not given is an error."""
    return Markup(_environment().get_template(template).render(values))


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=PackageLoader("mm_sae_plugin.report", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"COLOURS": COLOURS, "MEANINGS": MEANINGS}
    environment.filters |= {"hash": _hash, "percent": _percent}
    environment.filters |= {
        "signed": _signed,
        "rate": _rate,
        "p_value": _p_value,
        "listed": _listed,
        "change": _change,
        "with_code": _with_code,
    }
    return environment


def _percent(value: float) -> str:
    """A rate in percent with one digit; one that is not 0 is never shown as 0 (as in index.js)."""
    return "<0.1%" if 0 < value < 0.05 else f"{value:.1f}%"


def _signed(value: float | None) -> str:
    """A number with its sign, a true minus; – where there is none."""
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


def _rate(value: float | None) -> str:
    """A share of 1 in percent; – where there is none."""
    return "–" if value is None else _percent(100 * value)


def _change(value: float) -> str:
    """By which share of 1 something is more or less, in percent."""
    written = f"{value:+.0%}".replace("-", "−")
    return "0%" if written[1:] == "0%" else written


def _p_value(value: float) -> str:
    """A p-value with the digits that count; one that is not 0 is never shown as 0."""
    return "<0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def _listed(names: Sequence[str]) -> str:
    """Names as one says them: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _with_code(sentence: str) -> Markup:
    """A sentence in which what stands between backticks, as in a terminal, is set as code."""
    parts = sentence.split("`")
    if len(parts) % 2 == 0:
        return escape(sentence)
    code = Markup("<code>{}</code>")
    return Markup().join(code.format(part) if at % 2 else part for at, part in enumerate(parts))


def _hash(script: str) -> str:
    """How a content security policy names the one script that may run."""
    return "sha256-" + base64.b64encode(sha256(script.encode()).digest()).decode("ascii")
