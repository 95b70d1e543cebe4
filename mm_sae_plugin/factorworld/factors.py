"""The one table of FactorWorld's factors: what varies, how often it is drawn, how often it is said.

Every scene has a value for each factor that applies to it; whether it is drawn and whether it is
said are independent of each other and of everything else. What the two rates mean for a latent is
in ``truth``.
"""

from dataclasses import dataclass

from mm_sae_plugin.factorworld.truth import Rated

SCENE_KINDS = ("objects", "person")
"""What a scene can show."""


@dataclass(frozen=True)
class Factor(Rated):
    """One thing that varies from scene to scene."""

    name: str
    """What the factor is called in tables and labels."""
    values: tuple[str, ...]
    """The values it can take, drawn uniformly (the gender of a person excepted)."""
    drawn: float
    """Probability that the image shows the value, 0 to 1."""
    said: float
    """Probability that the caption mentions the value, 0 to 1."""
    scenes: tuple[str, ...] = SCENE_KINDS
    """The kinds of scene to which the factor applies."""


_OBJECTS = ("ball", "cup", "house", "tree", "fish", "star")
_OBJECTS += ("car", "boat", "mushroom", "flower", "kite", "lamp")
_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
_OCCUPATIONS = ("doctor", "nurse", "chef", "farmer", "builder", "firefighter", "pilot", "artist")

_TABLE = (
    # Shared: drawn and said every time.
    Factor("object", _OBJECTS, 1, 1, ("objects",)),
    Factor("size", ("small", "big"), 1, 1, ("objects",)),
    Factor("count", ("one", "two", "three"), 1, 1, ("objects",)),
    Factor("colour", _COLOURS, 1, 1),
    Factor("place", ("left", "middle", "right"), 1, 1),
    Factor("gender", ("woman", "man"), 1, 1, ("person",)),
    Factor("age", ("young", "old"), 1, 1, ("person",)),
    Factor("occupation", _OCCUPATIONS, 1, 1, ("person",)),
    # Image-dominant: always drawn, mentioned now and then.
    Factor("ground", ("grass", "sand", "snow", "water", "bricks", "planks"), 1, 0.4),
    Factor("backdrop", ("hills", "city", "forest", "mountains", "dunes"), 1, 0.4),
    Factor("lighting", ("dawn", "noon", "dusk", "night", "haze", "aurora"), 1, 0.15),
    Factor("weather", ("sunshine", "rain", "snowfall", "clouds", "wind"), 1, 0.15),
    Factor("frame", ("golden", "silver", "lace", "film", "ribbon", "rounded"), 1, 0.15),
    Factor("pattern", ("stripes", "dots", "checks", "waves", "zigzag", "rings"), 1, 0.05),
    # Image-only: controls that the captions never mention.
    Factor("tilt", ("level", "rising", "falling"), 1, 0),
    Factor("grain", ("clean", "fine", "coarse"), 1, 0),
    Factor("skin", ("light", "tan", "brown", "dark"), 1, 0, ("person",)),
    # Text-dominant: always said, and now and then drawn as a mark on the card.
    Factor("weekday", ("monday", "tuesday", "wednesday", "thursday", "friday", "weekend"), 0.4, 1),
    Factor("tag", ("#travel", "#food", "#art", "#home", "#sport", "#news"), 0.4, 1),
    Factor("opening", ("photo", "picture", "look", "meet", "behold", "presenting"), 0.15, 1),
    Factor("tone", ("lovely", "funny", "gloomy", "calm", "proud", "weird"), 0.15, 1),
    Factor("sender", ("anna", "ben", "chloe", "dan", "eva", "finn"), 0.15, 1),
    Factor("reader", ("mom", "dad", "boss", "team", "everyone"), 0.05, 1),
    # Text-only: controls that the images never show.
    Factor("signoff", ("bye", "cheers", "xoxo", "regards"), 0, 1),
    Factor("ending", (".", "!", "?"), 0, 1),
)

FACTORS: dict[str, Factor] = {factor.name: factor for factor in _TABLE}
"""Every factor by name, in the order of the table."""

SHARED_FACTORS: tuple[str, ...] = tuple(f.name for f in _TABLE if f.modality == "CrossD")
"""The factors that images and captions both always carry."""

PERSON_SHARE = 0.4
"""Share of the scenes that show a person; the others show objects."""

WOMAN_GIVEN_OCCUPATION: dict[str, float] = {
    "nurse": 0.9,
    "artist": 0.75,
    "doctor": 0.6,
    "farmer": 0.55,
    "chef": 0.45,
    "pilot": 0.4,
    "firefighter": 0.25,
    "builder": 0.1,
}
"""The planted association: probability that a person of each occupation is drawn as a woman.

It is invented, so that a bias audit has a known answer, and averages to one half.
"""


def planted_association(strength: float) -> dict[str, float]:
    """Return P(woman | occupation), equally strong for all, in ``WOMAN_GIVEN_OCCUPATION``'s way.

    Parameters
    ----------
    strength
        0 to 1: the probability is ``(1 + strength) / 2`` for the occupations that are drawn more
        often as a woman, ``(1 - strength) / 2`` for the others.
    """
    assert 0 <= strength <= 1
    return {
        occupation: (1 + strength if rate > 0.5 else 1 - strength) / 2
        for occupation, rate in WOMAN_GIVEN_OCCUPATION.items()
    }


WORLD_VERSION = "1"
"""Changes whenever the same seed would give other pairs, as it would after any change above.

It is part of what names a store's pairs, so that none is taken for another world's.
"""
