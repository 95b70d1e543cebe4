"""The templates of the page: Jinja2, which escapes whatever it is given."""

import base64
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

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
    return environment


def _percent(value: float) -> str:
    """A rate in percent with one digit; one that is not 0 is never shown as 0 (as in index.js)."""
    return "<0.1%" if 0 < value < 0.05 else f"{value:.1f}%"


def _hash(script: str) -> str:
    """How a content security policy names the one script that may run."""
    return "sha256-" + base64.b64encode(sha256(script.encode()).digest()).decode("ascii")
