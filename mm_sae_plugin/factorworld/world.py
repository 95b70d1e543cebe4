"""FactorWorld: image–caption pairs drawn from known factors, deterministic from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from PIL import Image

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld.captions import write_caption
from mm_sae_plugin.factorworld.drawing.marks import MARK_PLACES
from mm_sae_plugin.factorworld.drawing.render import IMAGE_SIZE, render_scene
from mm_sae_plugin.factorworld.factors import (
    FACTORS,
    PERSON_SHARE,
    SCENE_KINDS,
    WOMAN_GIVEN_OCCUPATION,
    WORLD_VERSION,
    Factor,
)
from mm_sae_plugin.factorworld.truth import drawn_label, said_label

# Streams of random numbers of their own, beside the one of the pair's factors.
_DRAWING_STREAM = 1
_GROUP_STREAM = 2


@dataclass(frozen=True)
class Scene:
    """What is true of one pair, what its image shows and what its caption mentions."""

    kind: str
    """``objects`` or ``person``."""
    values: dict[str, str]
    """The value of every factor that applies to the scene."""
    drawn: dict[str, str]
    """The values that the image shows."""
    said: dict[str, str]
    """The values that the caption mentions."""

    @property
    def caption(self) -> str:
        """The caption, in lower case."""
        return write_caption(self.said)

    @property
    def labels(self) -> dict[str, str]:
        """``drawn.<factor>`` and ``said.<factor>`` for every factor; empty where it is absent."""
        labels = {drawn_label(name): self.drawn.get(name, "") for name in FACTORS}
        return labels | {said_label(name): self.said.get(name, "") for name in FACTORS}


@dataclass(frozen=True)
class WorldPair:
    """One image, its caption, and the known truth about both."""

    image: Image.Image
    """RGB, 64 × 64 pixels."""
    caption: str
    """Lower-case words separated by single spaces."""
    labels: dict[str, str]
    """``drawn.<factor>`` and ``said.<factor>``: the value, or empty where it is absent."""


class FactorWorld:
    """A world of image–caption pairs whose factors of variation are known.

    Pair ``i`` depends on ``seed`` and ``i`` alone, so that any pair can be drawn by itself, in any
    process and in any order.

    Parameters
    ----------
    seed
        Non-negative; different seeds are different worlds of the same kind.
    group_size, redraw
        Hard negatives for contrastive training: pairs ``i`` with the same ``i // group_size`` have
        the same shared factors (those that most pairs both draw and say), except that each pair
        redraws each of them with probability ``redraw``. The default, groups of one, makes all
        pairs independent.
    factors
        The table of the world: the factors of ``FACTORS`` in their order, with rates of one's own
        and with some of the values left out.
    woman_given_occupation
        Probability that a person of each occupation is drawn as a woman. Where it is one's own, it
        also holds within groups: a pair that redraws its occupation or its gender draws the gender
        for the occupation that it has in the end. (The first world's groups redraw both by
        themselves, which dilutes the association, and stay as they are: models were trained on it.)

    Raises
    ------
    UserError
        If the table has other factors or values, a factor without words is said, a factor that is
        neither the occupation nor a mark on the card is drawn at another rate than in ``FACTORS``,
        or an occupation has no probability.
    """

    version = WORLD_VERSION
    """Changes whenever the same seed would give other pairs; each table has its own."""

    image_size = IMAGE_SIZE
    """Side of the square images, in pixels."""

    def __init__(
        self,
        seed: int = 0,
        group_size: int = 1,
        redraw: float = 1.0,
        factors: Mapping[str, Factor] = FACTORS,
        woman_given_occupation: Mapping[str, float] = WOMAN_GIVEN_OCCUPATION,
    ):
        assert seed >= 0 and group_size >= 1 and 0 <= redraw <= 1
        self.seed = seed
        self.group_size = group_size
        self.redraw = redraw
        self.factors = factors
        self._shared = [f.name for f in factors.values() if min(f.drawn, f.said) > 0.5]
        self._applying = {
            kind: [f for f in factors.values() if kind in f.scenes] for kind in SCENE_KINDS
        }
        self.woman_given_occupation = dict(woman_given_occupation)
        self._has_own_association = self.woman_given_occupation != WOMAN_GIVEN_OCCUPATION
        table = tuple(factors.values())
        own = [repr(table)] if table != tuple(FACTORS.values()) else []
        if own:
            _check_factors(factors)
        if self._has_own_association:
            _check_association(self.woman_given_occupation, factors)
            own.append(repr(sorted(self.woman_given_occupation.items())))
        if own:
            self.version = f"{WORLD_VERSION}-{sha256(''.join(own).encode()).hexdigest()[:8]}"

    def scene(self, index: int) -> Scene:
        """Return what is true of pair ``index``, without drawing it."""
        return self._scene(index, None, {})

    def describe(self, index: int) -> tuple[str, dict[str, str]]:
        """Return the caption and the labels of pair ``index``, without drawing it."""
        scene = self.scene(index)
        return scene.caption, scene.labels

    def draw(self, index: int) -> Image.Image:
        """Return the image of pair ``index``: RGB, 64 × 64 pixels."""
        return self._draw_scene(index, self.scene(index))

    def pair(self, index: int) -> WorldPair:
        """Return pair ``index``: its image, caption and labels."""
        scene = self.scene(index)
        return WorldPair(self._draw_scene(index, scene), scene.caption, scene.labels)

    def pair_with(
        self, index: int, values: Mapping[str, str], kind: str | None = None
    ) -> WorldPair:
        """Return pair ``index`` with some of its factors set by hand.

        Parameters
        ----------
        index
            The pair that gives everything else.
        values
            Factor to value: the image shows it and the caption mentions it, as far as the world can
            draw and say the factor at all.
        kind
            ``objects`` or ``person``; by default that of the pair.

        Raises
        ------
        UserError
            If there is no such kind, factor or value, or the scene has no such factor.
        """
        if kind not in (None, *SCENE_KINDS):
            raise UserError(f"A scene shows {' or '.join(SCENE_KINDS)}, not {kind!r:.40}.")
        scene = self._scene(index, kind, values)
        for name, value in values.items():
            if name not in self.factors:
                known = ", ".join(self.factors)
                raise UserError(f"There is no factor {name!r:.40}: choose from {known}.")
            if value not in self.factors[name].values:
                known = ", ".join(self.factors[name].values)
                raise UserError(f"There is no {name} {value!r:.40}: choose from {known}.")
            if name not in scene.values:
                raise UserError(f"A scene of {scene.kind} has no {name}: leave it out.")
        return WorldPair(self._draw_scene(index, scene), scene.caption, scene.labels)

    def _scene(self, index: int, asked_kind: str | None, given: Mapping[str, str]) -> Scene:
        rng = np.random.default_rng((self.seed, index))
        kind, values = self._draw_values(rng)
        if self.group_size > 1:
            kind, values = self._follow_group(index, rng, values)
        kind, values = asked_kind or kind, {**values, **given}
        applying = self._applying[kind]
        # Plain numbers, since a row of an array costs more to unpack than all else here.
        chance = rng.random((len(applying), 2)).tolist()
        told, drawn, said = {}, {}, {}
        for factor, own in zip(applying, chance, strict=True):
            name = factor.name
            told[name] = values[name]
            # What is given is certain, and what has rate 0 stays impossible.
            u_drawn, u_said = (0, 0) if name in given else own
            if u_drawn < factor.drawn:
                drawn[name] = values[name]
            if u_said < factor.said:
                said[name] = values[name]
        return Scene(kind, told, drawn, said)

    def _draw_scene(self, index: int, scene: Scene) -> Image.Image:
        rng = np.random.default_rng((self.seed, index, _DRAWING_STREAM))
        return render_scene(scene.kind, scene.drawn, rng)

    def _follow_group(
        self, index: int, rng: np.random.Generator, own: dict[str, str]
    ) -> tuple[str, dict[str, str]]:
        group_rng = np.random.default_rng((self.seed, index // self.group_size, _GROUP_STREAM))
        kind, values = self._draw_values(group_rng)
        redrawn = rng.random(len(self._shared)) < self.redraw
        keep = {n for n, again in zip(self._shared, redrawn, strict=True) if not again}
        joined = own | {name: values[name] for name in keep}
        if self._has_own_association and not {"gender", "occupation"} <= keep:
            joined["gender"] = self._draw_gender(rng, joined["occupation"])
        return kind, joined

    def _draw_values(self, rng: np.random.Generator) -> tuple[str, dict[str, str]]:
        kind = "person" if rng.random() < PERSON_SHARE else "objects"
        position = rng.random(len(self.factors)).tolist()
        values = {
            factor.name: factor.values[int(u * len(factor.values))]
            for factor, u in zip(self.factors.values(), position, strict=True)
        }
        values["gender"] = self._draw_gender(rng, values["occupation"])
        return kind, values

    def _draw_gender(self, rng: np.random.Generator, occupation: str) -> str:
        return "woman" if rng.random() < self.woman_given_occupation[occupation] else "man"


def _check_association(rates: Mapping[str, float], factors: Mapping[str, Factor]) -> None:
    for occupation in factors["occupation"].values:
        rate = rates.get(occupation)
        if rate is None or not 0 <= rate <= 1:
            raise UserError(
                f"The probability that a {occupation} is drawn as a woman is {rate}: give one "
                "from 0 to 1 for every occupation."
            )


def _check_factors(factors: Mapping[str, Factor]) -> None:
    if list(factors) != list(FACTORS):
        raise UserError("A table of factors needs the names of FACTORS, in the same order.")
    for name, factor in factors.items():
        known = FACTORS[name]
        strange = set(factor.values) - set(known.values)
        if strange or not factor.values:
            raise UserError(
                f"{name} cannot take the values {factor.values}: choose from {known.values}."
            )
        if factor.drawn != known.drawn and name not in (*MARK_PLACES, "occupation"):
            raise UserError(
                f"{name} cannot be drawn at the rate {factor.drawn}: only an occupation or a mark "
                f"on the card ({', '.join(MARK_PLACES)}) can be left out of an image; keep "
                f"{known.drawn}."
            )
        if factor.said and not known.said:
            raise UserError(f"{name} cannot be said: no caption has words for it; give it 0.")
