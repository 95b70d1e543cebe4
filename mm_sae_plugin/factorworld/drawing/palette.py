"""The one palette of FactorWorld, as RGB triples."""

RGB = tuple[int, int, int]

WHITE: RGB = (255, 255, 255)
PAPER: RGB = (255, 250, 240)
INK: RGB = (45, 49, 66)
SHADE: RGB = (60, 52, 70)
WOOD: RGB = (150, 105, 70)
GLASS: RGB = (206, 234, 246)
GOLD: RGB = (231, 178, 60)

COLOURS: dict[str, RGB] = {
    "red": (226, 52, 58),
    "orange": (247, 138, 30),
    "yellow": (252, 214, 50),
    "green": (56, 166, 84),
    "blue": (40, 108, 220),
    "purple": (134, 72, 186),
    "pink": (248, 138, 186),
    "black": (48, 48, 56),
}
"""The values of the factor ``colour``."""

SKIES: dict[str, tuple[RGB, RGB]] = {
    "dawn": ((255, 178, 186), (255, 226, 190)),
    "noon": ((112, 190, 246), (204, 236, 252)),
    "dusk": ((112, 70, 140), (250, 146, 84)),
    "night": ((18, 26, 66), (50, 66, 122)),
    "haze": ((190, 184, 170), (222, 216, 200)),
    "aurora": ((16, 62, 86), (72, 206, 156)),
}
"""Top and bottom of the sky for each value of ``lighting``."""

LIGHT: dict[str, tuple[RGB, float]] = {
    "dawn": ((255, 190, 180), 0.16),
    "noon": ((255, 255, 255), 0.0),
    "dusk": ((226, 110, 70), 0.26),
    "night": ((20, 28, 84), 0.45),
    "haze": ((206, 200, 186), 0.36),
    "aurora": ((40, 150, 130), 0.32),
}
"""How each ``lighting`` tints the land: a colour and the share of it."""

SKINS: dict[str, RGB] = {
    "light": (250, 214, 186),
    "tan": (226, 176, 134),
    "brown": (172, 114, 76),
    "dark": (108, 70, 50),
}
"""The values of ``skin``."""

MARK_HUES: tuple[RGB, ...] = (
    (222, 60, 75),
    (244, 150, 40),
    (120, 180, 60),
    (40, 160, 170),
    (70, 90, 200),
    (170, 70, 170),
)
"""One hue for each value of the factors that are drawn as marks."""
