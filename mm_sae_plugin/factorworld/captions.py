"""Captions of FactorWorld: lower-case telegrams in a fixed order, made from what is said."""

from mm_sae_plugin.factorworld.factors import FACTORS

_LEADS = {
    "photo": "photo of",
    "picture": "picture of",
    "look": "look at",
    "meet": "meet",
    "behold": "behold",
    "presenting": "presenting",
}
_PLURALS = {"fish": "fish"}
# How a mention of each graded scene factor reads; the value takes the place of the braces.
_MENTIONS = {
    "lighting": "at {}",
    "weather": "in {}",
    "ground": "on {}",
    "backdrop": "near {}",
    "pattern": "with {}",
    "frame": "{} frame",
}


def write_caption(said: dict[str, str]) -> str:
    """Return the caption that mentions exactly the values in ``said``.

    Parameters
    ----------
    said
        Factor name to value; a factor that is absent, or whose value is empty, is not mentioned.
    """
    opening = said.get("opening", "")
    words = [_LEADS.get(opening, opening), said.get("tone", ""), _subject(said)]
    words.append(said.get("place", ""))
    words += [form.format(said[name]) for name, form in _MENTIONS.items() if said.get(name)]
    words.append(said.get("weekday", ""))
    words += [f"from {said['sender']}"] if said.get("sender") else []
    words += [f"to {said['reader']}"] if said.get("reader") else []
    words += [said.get("tag", ""), said.get("signoff", ""), said.get("ending", "")]
    return " ".join(word for word in words if word)


def _subject(said: dict[str, str]) -> str:
    person = [said.get(name, "") for name in ("age", "gender", "occupation")]
    if any(person):
        person += ["in", said["colour"]] if said.get("colour") else []
        return " ".join(word for word in person if word)
    noun = said.get("object", "")
    if noun and said.get("count") in ("two", "three"):
        noun = _PLURALS.get(noun, f"{noun}s")
    things = [said.get("count", ""), said.get("size", ""), said.get("colour", ""), noun]
    return " ".join(word for word in things if word)


def vocabulary() -> list[str]:
    """Return every word a caption can contain, sorted."""
    words = {"of", "at", "in", "on", "near", "with", "frame", "from", "to"}
    for factor in FACTORS.values():
        if factor.said:
            words.update(factor.values)
    words.update(_PLURALS.get(noun, f"{noun}s") for noun in FACTORS["object"].values)
    return sorted(words)
