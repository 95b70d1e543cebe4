"""What of the page is in its address: all that a visitor chose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from mm_sae_plugin.applications.bias.attributed import CLASSES
from mm_sae_plugin.applications.bias.attribution import SIDES
from mm_sae_plugin.demos.bias.attributing import OWN, PAPER
from mm_sae_plugin.demos.bias.drilling import read_latents
from mm_sae_plugin.demos.bias.subject import FLIPS, Subject
from mm_sae_plugin.demos.common.typed import whole_number
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.factors import WOMAN_GIVEN_OCCUPATION

TABS = ("audit", "attribution", "toggle", "twins")
"""How an address calls the parts of the page."""
KEYS = ("tab", "flip", "model", "by", "show", "classes", "latents", "side", "occupation", "pair")
"""Names of all that an address holds."""


@dataclass(frozen=True)
class Asked:
    """What is shown."""

    model: str
    tab: str = TABS[0]
    flip: str = next(iter(FLIPS))
    by: str = OWN
    """By which score latents are put into classes."""
    show: str = ""
    """Latents that are looked into."""
    classes: tuple[str, ...] = ()
    """Classes that are taken out."""
    latents: tuple[int, ...] = ()
    """Latents that are taken out besides."""
    side: str = "both"
    occupation: str = next(iter(WOMAN_GIVEN_OCCUPATION))
    pair: int = 1


def query_of(asked: Asked) -> str:
    """Return what the address holds: what is not as the page opens by itself."""
    usual, told = Asked(asked.model), {}
    for key in KEYS:
        value = getattr(asked, key)
        if key == "model" or value != getattr(usual, key):
            told[key] = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return urlencode({key: value for key, value in told.items() if value})


def read(params: Mapping[str, str], subjects: Sequence[Subject]) -> tuple[Asked, list[str]]:
    """Return what an address asks for, and the keys of which it asks for what cannot be."""
    wrong: list[str] = []
    by_name = {subject.name: subject for subject in subjects}

    def one_of(key: str, values: Sequence[str], usual: str) -> str:
        given = params.get(key, usual)
        if given in values:
            return given
        wrong.append(key)
        return usual

    # The last is the one that there is something to be found in, where there are two.
    model = one_of("model", list(by_name), subjects[-1].name)
    subject, usual = by_name[model], Asked(model)

    def latents(key: str) -> list[int]:
        try:
            return read_latents(subject, params.get(key, ""), "The latent")
        except UserError:
            wrong.append(key)
            return []

    classes = tuple(filter(None, params.get("classes", "").split(",")))
    if any(name not in CLASSES or not subject.study.labels.class_counts[name] for name in classes):
        wrong.append("classes")
        classes = ()
    pair = whole_number(params.get("pair", "1"))
    if pair is None or not 1 <= pair <= subject.n_per_target:
        wrong.append("pair")
        pair = 1
    return (
        Asked(
            model,
            one_of("tab", TABS, usual.tab),
            one_of("flip", list(FLIPS), usual.flip),
            one_of("by", (OWN, PAPER), usual.by),
            ",".join(map(str, latents("show"))),
            classes,
            tuple(latents("latents")),
            one_of("side", SIDES, usual.side),
            one_of("occupation", list(WOMAN_GIVEN_OCCUPATION), usual.occupation),
            pair,
        ),
        wrong,
    )
