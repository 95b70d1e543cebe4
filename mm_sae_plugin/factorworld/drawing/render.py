"""Putting a scene together: from the values that an image shows to a 64-pixel picture."""

import numpy as np
from PIL import Image

from mm_sae_plugin.factorworld.drawing import backdrops
from mm_sae_plugin.factorworld.drawing.marks import MARK_PLACES, mark
from mm_sae_plugin.factorworld.drawing.people import PERSON_PIXELS, person_sprite
from mm_sae_plugin.factorworld.drawing.things import THING_PIXELS, thing_sprite

IMAGE_SIZE = 64
"""Side of an image in pixels."""

# Largest change of a pixel, in levels of 0 to 255.
_GRAIN = {"clean": 0, "fine": 7, "coarse": 16}
_THING_MIDDLE = {"left": 19, "middle": 32, "right": 45}
_PERSON_MIDDLE = {"left": 18, "middle": 32, "right": 46}
# Where one, two or three things stand around the middle of their group, in shares of their side.
_GROUPS = {
    "one": ((0.0, 0.0),),
    "two": ((-0.5, -0.15), (0.5, 0.15)),
    "three": ((0.0, -0.5), (-0.52, 0.35), (0.52, 0.35)),
}


def render_scene(kind: str, drawn: dict[str, str], rng: np.random.Generator) -> Image.Image:
    """Draw a scene.

    Parameters
    ----------
    kind
        ``objects`` or ``person``.
    drawn
        The values that show. The factors that are always drawn must be there; a mark or an
        occupation that is absent is left out.
    rng
        Chooses what no factor governs: small shifts, and one picture of the weather.

    Returns
    -------
    RGB, ``IMAGE_SIZE`` pixels square.
    """
    card = backdrops.sky(drawn["lighting"], drawn["pattern"], IMAGE_SIZE).copy()
    variant = int(rng.integers(backdrops.WEATHER_VARIANTS))
    weather = backdrops.weather(drawn["weather"], variant, IMAGE_SIZE)
    # The sun and the clouds stand behind the land; rain, snow and leaves fall before it, but leave
    # the subject clear.
    falls = drawn["weather"] not in ("sunshine", "clouds")
    if not falls:
        _lay(card, weather)
    land = backdrops.land(
        drawn["backdrop"], drawn["ground"], drawn["tilt"], drawn["lighting"], IMAGE_SIZE
    )
    _lay(card, land)
    if falls:
        _lay(card, weather)
    _draw_subject(card, kind, drawn, rng)
    _lay(card, backdrops.frame(drawn["frame"], IMAGE_SIZE))
    for factor, place in MARK_PLACES.items():
        if factor in drawn:
            _lay(card, mark(factor, drawn[factor]), place)
    return _add_grain(card, _GRAIN[drawn["grain"]], rng)


def subject_mask(kind: str, drawn: dict[str, str], rng: np.random.Generator) -> np.ndarray:
    """Return where ``render_scene`` draws the subject, under the frame and the marks.

    Parameters
    ----------
    kind, drawn, rng
        As for ``render_scene``; an equal ``rng`` gives the mask of that picture.

    Returns
    -------
    bool, ``[IMAGE_SIZE, IMAGE_SIZE]``.
    """
    card = Image.new("RGBA", (IMAGE_SIZE, IMAGE_SIZE))
    rng.integers(backdrops.WEATHER_VARIANTS)
    _draw_subject(card, kind, drawn, rng)
    return np.asarray(card.getchannel("A")) > 0


def _lay(card: Image.Image, layer: Image.Image, place: tuple[int, int] = (0, 0)) -> None:
    # On an opaque card this is alpha compositing, in one call.
    card.paste(layer, place, layer)


def _draw_subject(
    card: Image.Image, kind: str, drawn: dict[str, str], rng: np.random.Generator
) -> None:
    shift_x, shift_y = (int(value) for value in rng.integers(-1, 2, size=2))
    if kind == "person":
        gender, age, colour, skin = (drawn[n] for n in ("gender", "age", "colour", "skin"))
        sprite = person_sprite(gender, age, drawn.get("occupation", ""), colour, skin)
        width, height = PERSON_PIXELS
        left = _PERSON_MIDDLE[drawn["place"]] + shift_x - width // 2
        _lay(card, sprite, (left, 57 - height + shift_y))
        return
    sprite = thing_sprite(drawn["object"], drawn["colour"], drawn["size"])
    side = THING_PIXELS[drawn["size"]]
    for right, down in _GROUPS[drawn["count"]]:
        x = _THING_MIDDLE[drawn["place"]] + shift_x + right * side - side / 2
        y = 36 + shift_y + down * side - side / 2
        # A big group at the edge is pushed back onto the card.
        x = min(max(round(x), 1), IMAGE_SIZE - side - 1)
        _lay(card, sprite, (x, round(y)))


def _add_grain(image: Image.Image, amplitude: int, rng: np.random.Generator) -> Image.Image:
    if amplitude == 0:
        return image
    pixels = np.asarray(image)
    noise = rng.integers(-amplitude, amplitude + 1, size=pixels.shape[:2], dtype=np.int16)
    grainy = pixels + noise[..., None]
    return Image.fromarray(grainy.clip(0, 255).astype(np.uint8))
