"""`FeatureEdit`: what to do with codes, in numbers that can be written down."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args

from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.files import parse_json, write_json_atomically
from mm_sae_plugin.interventions.choice import Choice, chosen_latents, typical_codes
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.given import refuse_no_latent

Operation = Literal["scale", "add", "set", "clamp", "replace"]
Unit = Literal["typical", "code"]
"""What an amount is measured in: a latent's own typical activation, or activations as they are."""
_FORMAT = "mm_sae_plugin edit"


@dataclass(frozen=True)
class EditStep:
    """One thing to do with the codes of some latents."""

    operation: Operation
    """`scale` by the amount, `add` it, `set` to it, `clamp` between it and `upper`, or `replace` by
    the codes in `reference`: the amount is how far to go there, 1 all the way."""
    latents: tuple[int, ...]
    """Which ones, each once."""
    amount: float = 0.0
    """A factor for `scale` and `replace`; else in `unit`."""
    upper: float | None = None
    """Upper end of `clamp`."""
    unit: Unit = "typical"
    """Unit of amount and upper."""
    reference: tuple[float, ...] = ()
    """For `replace`: the codes of the latents, in their order."""


@dataclass(frozen=True)
class FeatureEdit:
    """What to do with the codes of one SAE, step by step.

    Made with :meth:`scale`, :meth:`add`, :meth:`set`, :meth:`clamp`, :meth:`ablate` and
    :meth:`replace`; edits of the same SAE compose with ``+``, the left one first. It holds plain
    numbers only, and is carried out by :func:`mm_sae_plugin.steer` and
    :func:`mm_sae_plugin.interventions.edited`.

    Every maker takes a :class:`~mm_sae_plugin.Study` and exactly one way to say which latents:
    ``latents=[12, 77]``, ``classes="TextD"`` or several, ``concepts=[12]`` (latents with all that
    they are partners of), or ``mask``, a boolean for every latent.
    """

    steps: tuple[EditStep, ...]
    """In the order in which they are carried out; none is the empty edit."""
    sae_id: str
    """Hash of the SAE's weights."""
    weights_id: str
    """Which encoder the SAE belongs to."""
    relative_norm: float | None = None
    """|Δe| / |e|: how far the edit moves a vector, whatever its steps say. None lets them say."""

    @classmethod
    def none(cls, study: Study) -> FeatureEdit:
        """Return the empty edit, which changes no bit."""
        return cls((), study.sae_id, study.weights_id)

    @classmethod
    def scale(cls, study: Study, factor: float, **which: Any) -> FeatureEdit:
        """Multiply codes by a factor; 0 ablates, 1 changes nothing."""
        return cls._of(study, which, EditStep("scale", (), _number("factor", factor)))

    @classmethod
    def ablate(cls, study: Study, **which: Any) -> FeatureEdit:
        """Set codes to 0."""
        return cls.scale(study, 0.0, **which)

    @classmethod
    def add(cls, study: Study, amount: float, unit: Unit = "typical", **which: Any) -> FeatureEdit:
        """Add to codes; a sum below 0 becomes 0."""
        return cls._of(study, which, EditStep("add", (), _number("amount", amount), unit=unit))

    @classmethod
    def set(cls, study: Study, amount: float, unit: Unit = "typical", **which: Any) -> FeatureEdit:
        """Set codes to an amount, 0 or more."""
        amount = _number("amount", amount, least=0.0)
        return cls._of(study, which, EditStep("set", (), amount, unit=unit))

    @classmethod
    def clamp(
        cls, study: Study, low: float, high: float, unit: Unit = "typical", **which: Any
    ) -> FeatureEdit:
        """Keep codes between two amounts, 0 or more."""
        low, high = _number("low", low, least=0.0), _number("high", high, least=0.0)
        if low > high:
            raise UserError(f"clamp needs low <= high; got {low:g} and {high:g}.")
        return cls._of(study, which, EditStep("clamp", (), low, high, unit))

    @classmethod
    def replace(
        cls,
        study: Study,
        image: Any = None,
        text: str | None = None,
        share: float = 1.0,
        **which: Any,
    ) -> FeatureEdit:
        """Replace codes by those of one picture (``image``) or one caption (``text``).

        ``share`` says how far to go: 0 not at all, 1 all the way, more goes beyond, and less than 0
        leads away.
        """
        share = _number("share", share)
        if (image is None) == (text is None):
            raise UserError("Give one reference: a picture (image=…) or a caption (text=…).")
        latents = chosen_latents(study, Choice.of(which))
        of_image, of_text = study.codes(
            None if image is None else [image], None if text is None else [text]
        )
        codes = of_image if of_text is None else of_text
        assert codes is not None
        reference = tuple(codes[0, list(latents)].tolist())
        step = EditStep("replace", latents, share, unit="code", reference=reference)
        return cls((step,), study.sae_id, study.weights_id)

    def with_relative_norm(self, fraction: float | None) -> FeatureEdit:
        """Return the same edit, moving every vector by this fraction of its length.

        The steps then only give the direction; where they change no code, nothing moves.
        """
        if fraction is not None:
            fraction = _number("fraction", fraction, least=0.0)
        return replace(self, relative_norm=fraction)

    @property
    def latents(self) -> tuple[int, ...]:
        """All that it touches, in ascending order."""
        return tuple(sorted({latent for step in self.steps for latent in step.latents}))

    def __add__(self, other: FeatureEdit) -> FeatureEdit:
        """Carry out this edit and then the other.

        Raises
        ------
        UserError
            If they are of different SAEs or encoders, or move vectors by different fractions.
        """
        if not isinstance(other, FeatureEdit):
            return NotImplemented
        self._check_ids(other.sae_id, other.weights_id, "the other edit")
        fractions = {e.relative_norm for e in (self, other) if e.steps}
        if len(fractions) > 1:
            raise UserError(
                f"Edits with relative norms {self.relative_norm} and {other.relative_norm} do not "
                "add up: add them first, and give the sum its norm."
            )
        steps = self.steps + other.steps
        return replace(self, steps=steps, relative_norm=next(iter(fractions), None))

    def check_study(self, study: Study) -> None:
        """Raise ``UserError`` where the edit is of another SAE or encoder; both are named.

        So too where it names a latent that the SAE does not have, as no maker lets it.
        """
        self._check_ids(study.sae_id, study.weights_id, f"{study.path}")
        for latent in self.latents:
            refuse_no_latent(latent, study.feature_map.n_features)

    def to_dict(self) -> dict[str, Any]:
        """The edit as plain JSON values."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FeatureEdit:
        """Read what :meth:`to_dict` gave.

        Raises
        ------
        UserError
            If it is none of that, or says what no edit can do.
        """
        if not isinstance(content, Mapping) or content.get("format") != _FORMAT:
            raise UserError("This is no edit: edit.save(path) and the demos write them.")
        known = {field.name for field in fields(cls)}
        try:
            values = {name: value for name, value in content.items() if name in known}
            values["steps"] = tuple(_step(step) for step in values["steps"])
            edit = cls(**values)
            if edit.relative_norm is not None:
                edit = edit.with_relative_norm(edit.relative_norm)
            return edit
        except (AttributeError, TypeError, KeyError, ValueError, UserError) as error:
            told = str(error).rstrip(".")
            raise UserError(f"This edit is damaged ({told}): write it anew.") from error

    def save(self, path: str | Path) -> None:
        """Write a JSON preset."""
        write_json_atomically(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: str | Path, study: Study | None = None) -> FeatureEdit:
        """Read a JSON preset.

        Raises
        ------
        UserError
            If the file holds no edit, or one of another SAE or encoder than the study's.
        """
        if not isinstance(path, str | os.PathLike):
            raise UserError(f"path must be a file, not {kind_of(path)}.")
        try:
            content = parse_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} holds no edit ({error}).") from error
        edit = cls.from_dict(content)
        if study is not None:
            edit.check_study(study)
        return edit

    @classmethod
    def _of(cls, study: Study, which: Mapping[str, Any], step: EditStep) -> FeatureEdit:
        if step.unit not in get_args(Unit):
            raise UserError(f"unit must be 'typical' or 'code', not {step.unit!r:.40}.")
        latents = chosen_latents(study, Choice.of(which))
        if step.operation != "scale" and step.unit == "typical":
            # A latent that never fired has no typical activation to measure by.
            typical_codes(study, latents)
        return cls((replace(step, latents=latents),), study.sae_id, study.weights_id)

    def _check_ids(self, sae_id: str, weights_id: str, what: str) -> None:
        if self.sae_id != sae_id:
            raise UserError(
                f"This edit is of the SAE {self.sae_id}, and {what} is of the SAE {sae_id}: its "
                "latents mean something else there."
            )
        if self.weights_id != weights_id:
            raise UserError(
                f"This edit is of an SAE for the encoder {self.weights_id}, and {what} is of one "
                f"for {weights_id}."
            )


def _step(content: Mapping[str, Any]) -> EditStep:
    lists = {name: tuple(content.get(name, ())) for name in ("latents", "reference")}
    step = EditStep(**{**content, **lists})
    if step.operation not in get_args(Operation) or step.unit not in get_args(Unit):
        raise ValueError(f"unknown operation {step.operation!r} or unit {step.unit!r}")
    if not all(type(latent) is int and latent >= 0 for latent in step.latents):
        raise ValueError("latents must be whole numbers")
    if step.operation == "replace" and len(step.reference) != len(step.latents):
        raise ValueError(f"{len(step.latents)} latents and {len(step.reference)} reference codes")
    for value in step.reference:
        _number("reference", value, least=0.0)
    _number("amount", step.amount, least=0.0 if step.operation in ("set", "clamp") else None)
    if (step.operation == "clamp") != (step.upper is not None):
        raise ValueError("clamp, and nothing else, needs an upper end")
    if step.upper is not None and _number("upper", step.upper) < step.amount:
        raise ValueError(f"clamp needs low <= high; got {step.amount:g} and {step.upper:g}")
    return step


def _number(name: str, value: Any, least: float | None = None) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
        raise UserError(f"{name} must be a finite number, not {value!r:.40}.")
    if least is not None and value < least:
        raise UserError(f"{name} must be {least:g} or more; got {value:g}.")
    return float(value)
