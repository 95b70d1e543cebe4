"""One colour and one plain sentence for every class, used wherever the class appears."""

COLOURS = {
    "ImgD": "#e07b39",
    "CrossD": "#8560b8",
    "TextD": "#3478bd",
    "Undetermined": "#98a1ad",
    "Dead": "#d5d9df",
}

MEANINGS = {
    "ImgD": "image-dominant: mostly a matter of images",
    "CrossD": "cross-modal: a matter of images and captions alike",
    "TextD": "text-dominant: mostly a matter of captions",
    "Undetermined": "the data do not decide",
    "Dead": "fires on too few images to be labelled",
}

DISPLAY_ORDER = ("TextD", "CrossD", "ImgD", "Undetermined", "Dead")
"""As on the score's axis, text at the left, then the two that are no answer."""
