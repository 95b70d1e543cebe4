"""What is asked of the model: words for each target in many templates, all of it written down.

An audit that does not release its prompts cannot be repeated. A `PromptSet` is plain text, goes
into every result as it is, and is read from YAML or JSON::

    templates: ["a photo of a {}", "a portrait of a {}"]
    targets: {nurse: [nurse, hospital nurse], builder: [builder]}
    direction: {nurse: woman, builder: man}        # if one is stated beforehand
    groups: {woman: [a photo of a woman], man: [a photo of a man]}  # sentences for the groups
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.factorworld.factors import FACTORS, WOMAN_GIVEN_OCCUPATION

_PLACE = "{}"
_KEYS = ("templates", "targets", "direction", "groups")
DEFAULT_TEMPLATES = (
    "a photo of a {}",
    "a picture of a {}",
    "a portrait of a {}",
    "an image of a person who is a {}",
    "this is a {}",
)
"""For data of one's own where no templates are given."""


@dataclass(frozen=True)
class PromptSet:
    """Prompts of an audit, target by target."""

    templates: tuple[str, ...]
    """Sentences with one `{}` each."""
    targets: Mapping[str, tuple[str, ...]]
    """Target to the words for it, each of which takes the place of `{}`."""
    direction: Mapping[str, str] = field(default_factory=dict)
    """Target to the group that it is stated to go with, beforehand; empty where nothing is."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Group to whole sentences for it, where the default ones do not fit."""

    def __post_init__(self) -> None:
        if not self.templates:
            raise UserError("There is no prompt template: give one or several with {} in them.")
        for template in self.templates:
            if template.count(_PLACE) != 1:
                raise UserError(
                    f"The prompt template {template!r:.80} needs exactly one {{}}, where the "
                    "target's word goes."
                )
        if not self.targets:
            raise UserError("The prompts have no targets: give at least one with a word for it.")
        for target, words in self.targets.items():
            if not words or not all(word.strip() for word in words):
                raise UserError(
                    f"The target {target!r:.60} has an empty prompt: give a word, or leave it out."
                )
        for group, sentences in self.groups.items():
            if not sentences or not all(sentence.strip() for sentence in sentences):
                raise UserError(
                    f"The group {group!r:.60} has an empty sentence: give one, or leave it out."
                )
        strange = [target for target in self.direction if target not in self.targets]
        if strange:
            raise UserError(
                f"A direction is stated for {strange[0]!r:.60}, which is no target: choose from "
                f"{', '.join(self.targets)}."
            )

    @property
    def prompts(self) -> dict[str, list[str]]:
        """Target to all of its prompts."""
        return {
            target: [
                template.replace(_PLACE, word) for template in self.templates for word in words
            ]
            for target, words in self.targets.items()
        }

    def of_groups(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return sentences for each group: those given, else the default templates of its name."""
        default = {name: [one.replace(_PLACE, name) for one in DEFAULT_TEMPLATES] for name in names}
        return {name: list(self.groups.get(name, texts)) for name, texts in default.items()}

    def signs(self, first: str) -> dict[str, int]:
        """Return +1 for targets stated to go with the group ``first``, -1 for the others stated.

        Raises
        ------
        UserError
            If a direction is stated, but not of two groups one of which is ``first``.
        """
        groups = sorted(set(self.direction.values()))
        if groups and (len(groups) != 2 or first not in groups):
            raise UserError(
                f"The direction names {', '.join(groups)}, and the audit the group {first!r:.60}: "
                "it needs targets of exactly two groups, this and another."
            )
        return {target: 1 if group == first else -1 for target, group in self.direction.items()}

    def of_targets(self, names: Iterable[str]) -> PromptSet:
        """Return the prompts of some targets only.

        Raises
        ------
        UserError
            If one of them has no prompts.
        """
        chosen = list(names)
        missing = [name for name in chosen if name not in self.targets]
        if missing:
            raise UserError(
                f"The images have the target {missing[0]!r:.60}, for which the prompts have no "
                "words: add it to their targets, or leave its images out."
            )
        return PromptSet(
            self.templates,
            {name: self.targets[name] for name in chosen},
            {name: group for name, group in self.direction.items() if name in chosen},
            self.groups,
        )

    def to_dict(self) -> dict[str, Any]:
        """The set as plain JSON values, in the form that :meth:`load` reads."""
        values = asdict(self)
        return {key: values[key] for key in _KEYS if key in _KEYS[:2] or values[key]}

    @classmethod
    def from_dict(cls, content: Any) -> PromptSet:
        """Read what stands in a file.

        Raises
        ------
        UserError
            If it is no set of prompts, in one sentence.
        """
        if not isinstance(content, Mapping):
            raise UserError(
                f"Prompts are a mapping with {', '.join(_KEYS)}, not {kind_of(content)}."
            )
        unknown = [key for key in content if key not in _KEYS]
        if unknown:
            raise UserError(
                f"Prompts have no {unknown[0]!r:.40}: give {' and '.join(_KEYS[:2])}, and where "
                f"needed {' and '.join(_KEYS[2:])}."
            )
        templates = content.get("templates", list(DEFAULT_TEMPLATES))
        targets = content.get("targets")
        if isinstance(targets, list):
            targets = {target: target for target in _texts("targets", targets)}
        if not isinstance(targets, Mapping):
            raise UserError("Prompts need targets: a list of words, or target to its words.")
        direction = content.get("direction") or {}
        if not isinstance(direction, Mapping):
            raise UserError(
                f"A direction maps targets to the groups they go with; it is {kind_of(direction)}."
            )
        groups = content.get("groups") or {}
        if not isinstance(groups, Mapping):
            raise UserError(f"groups maps each group to sentences; it is {kind_of(groups)}.")
        return cls(
            _texts("templates", templates),
            {str(name): _texts(str(name), words) for name, words in targets.items()},
            {str(name): str(group) for name, group in direction.items()},
            {str(name): _texts(str(name), sentences) for name, sentences in groups.items()},
        )

    @classmethod
    def load(cls, path: str | Path) -> PromptSet:
        """Read YAML or JSON.

        Raises
        ------
        UserError
            If the file cannot be read, or holds no set of prompts.
        """
        import yaml

        try:
            content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            raise UserError(
                f"The prompts {path} cannot be read ({told}): give a YAML or JSON file."
            ) from error
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = "" if mark is None else f", in line {mark.line + 1}"
            told = getattr(error, "problem", None) or "it cannot be parsed"
            raise UserError(
                f"The prompts {path} are no YAML or JSON ({told}{where}): mend the file."
            ) from error
        try:
            return cls.from_dict(content)
        except UserError as error:
            raise UserError(f"In {path}: {error}") from error


def default_prompts(targets: Iterable[str]) -> PromptSet:
    """Return the default templates with each target's own name as its word."""
    return PromptSet(DEFAULT_TEMPLATES, {name: (name,) for name in targets})


def factorworld_prompts() -> PromptSet:
    """Return prompts for the occupations of FactorWorld, in the manner of its captions.

    ``person`` is no word of that world, so that the gender is left unsaid, as in the captions with
    a hidden word that its models have met. Directions are those of ``WOMAN_GIVEN_OCCUPATION``.
    """
    values = (FACTORS[name].values for name in ("age", "colour", "place"))
    templates = (
        f"{age} person {{}} in {colour} {place}" for age, colour, place in product(*values)
    )
    return PromptSet(
        tuple(templates),
        {name: (name,) for name in WOMAN_GIVEN_OCCUPATION},
        {name: "woman" if rate > 0.5 else "man" for name, rate in WOMAN_GIVEN_OCCUPATION.items()},
        {gender: _of_gender(gender) for gender in FACTORS["gender"].values},
    )


def _of_gender(gender: str) -> tuple[str, ...]:
    # Occupations are said of both genders alike, so that their words do not tell the two apart.
    values = (FACTORS[name].values for name in ("age", "occupation", "colour"))
    return tuple(
        f"{age} {gender} {job} in {colour} middle" for age, job, colour in product(*values)
    )


def _texts(name: str, given: Any) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple):
        raise UserError(f"{name!r:.60} must be a text or a list of texts, not {kind_of(given)}.")
    strange = [text for text in texts if not isinstance(text, str)]
    if strange:
        raise UserError(
            f"{name!r:.60} holds {strange[0]!r:.60}, which is {kind_of(strange[0])} and not a "
            "text: write it in quotes."
        )
    return tuple(texts)
