"""The pen: shapes in unit coordinates, smooth edges, outlines."""

import numpy as np
import pytest

from mm_sae_plugin.factorworld.drawing.pen import Pen, mix

RED = (200, 0, 0)


def test_a_disc_covers_its_area_and_nothing_outside():
    pen = Pen(40, 20)
    pen.disc(1.0, 0.5, 0.25, RED)
    pixels = np.asarray(pen.finish())
    assert pixels.shape == (20, 40, 4)
    # Radius 5 pixels around the middle: the area is 78.5 pixels, edges counted by their share.
    assert pixels[..., 3].sum() / 255 == pytest.approx(np.pi * 25, rel=0.05)
    assert pixels[10, 20].tolist() == [*RED, 255]
    assert pixels[:, :14, 3].max() == 0


def test_edges_keep_the_colour_of_the_shape():
    pen = Pen(16, 16)
    pen.disc(0.5, 0.5, 0.3, RED)
    pixels = np.asarray(pen.finish())
    edge = (pixels[..., 3] > 64) & (pixels[..., 3] < 255)
    assert edge.any()
    # Not darkened by the transparent black around it.
    assert pixels[edge][:, 0].min() > 190


def test_an_outline_lies_around_the_shape():
    pen = Pen(16, 16)
    pen.box(0.25, 0.25, 0.75, 0.75, RED)
    plain, outlined = np.asarray(pen.finish()), np.asarray(pen.finish((255, 255, 255)))
    assert outlined[8, 3, :3].tolist() == [255, 255, 255] and outlined[8, 3, 3] > 200
    assert plain[8, 3, 3] == 0
    assert outlined[8, 8].tolist() == plain[8, 8].tolist()


def test_mixing_is_between_the_two():
    assert mix((0, 100, 200), (100, 200, 0), 0) == (0, 100, 200)
    assert mix((0, 100, 200), (100, 200, 0), 0.5) == (50, 150, 100)
    assert mix((0, 100, 200), (100, 200, 0), 1) == (100, 200, 0)
