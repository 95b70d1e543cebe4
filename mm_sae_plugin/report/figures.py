"""The figures of the report, drawn by hand so that the page needs nothing from outside."""

import math

import numpy as np
from markupsafe import Markup

from mm_sae_plugin.report.palette import COLOURS, DISPLAY_ORDER
from mm_sae_plugin.report.svg import element, figure, scale, text, title, width_of
from mm_sae_plugin.stats.calibration import Calibration
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.intervals import firing_rates
from mm_sae_plugin.wording import n_latents

# Latents up to which each has a dot of its own, with a hint.
_N_DOTS = 2500


def score_histogram(
    dominance: ModalityDominance, *, n_bins: int = 40, width: float = 1040
) -> Markup:
    """Alive latents by score, stacked by class, with the borders between classes.

    Parameters
    ----------
    dominance : ModalityDominance
        Scores and classes.
    n_bins : int
        Bins between 0 and 1.
    width : float
        Pixels of the drawing at full size; it shrinks with the page, and its letters with it.
    """
    height, right, top, bottom = 316, 16, 50, 52
    edges = np.linspace(0, 1, n_bins + 1)
    scores, classes = dominance.scores.numpy(), np.array(dominance.classes)
    shown = [name for name in DISPLAY_ORDER if name != "Dead"]
    known = ~np.isnan(scores)
    counts = {
        name: np.histogram(scores[known & (classes == name)], bins=edges)[0] for name in shown
    }
    peak = max(int(sum(counts.values()).max()), 1)  # type: ignore[union-attr]
    left = 20 + max(width_of(f"{peak:,}"), 24)
    x = scale(0, 1, left, width - right)
    y = scale(0, peak, height - bottom, top)
    parts = [_y_axis(peak, y, left, width - right, "latents")]
    below = np.zeros(n_bins)
    for name in shown:
        for i, count in enumerate(counts[name].tolist()):
            if count == 0:
                continue
            low, high = edges[i], edges[i + 1]
            parts.append(
                element(
                    "rect",
                    title(f"{count} {name} with a score from {low:.3f} to {high:.3f}"),
                    x=x(low) + 1,
                    y=y(below[i] + count),
                    width=x(high) - x(low) - 2,
                    height=y(below[i]) - y(below[i] + count),
                    fill=COLOURS[name],
                )
            )
        below += counts[name]
    # A border beyond the scale (a wide paper rule) cuts nothing.
    borders = [b for b in (dominance.low, dominance.high) if not math.isnan(b) and 0 < b < 1]
    # Borders close to each other are labelled to the outside.
    close = len(borders) == 2 and x(borders[1]) - x(borders[0]) < width_of("0.00") + 8
    for border, anchor in zip(
        borders, ("end", "start") if close else ("middle",) * 2, strict=False
    ):
        parts.append(_vertical(x(border), top - 6, height - bottom, "border"))
        parts.append(text(f"{border:.2f}", x(border), top - 11, text_anchor=anchor))
    parts.append(_x_axis_score(x, height - bottom))
    return figure(width, height, "Histogram of the modality dominance score by class", *parts)


def firing_rate_scatter(dominance: ModalityDominance, confidence: float = 0.95) -> Markup:
    """How often each latent fires on images and on captions, on logarithmic axes."""
    width, height, right, top, bottom = 500, 420, 14, 14, 54
    rates = firing_rates(dominance.statistics, confidence)
    image, caption = rates["image"][0].numpy(), rates["text"][0].numpy()
    alive = dominance.alive.numpy()
    positive = np.concatenate([image[alive & (image > 0)], caption[alive & (caption > 0)]])
    floor = min(math.floor(math.log10(positive.min())), -1) if len(positive) else -3
    # At most four powers of ten are labelled, so that labels never touch.
    powers = list(range(0, floor - 1, -math.ceil(-floor / 3)))
    labels = [f"{100 * 10.0**power:g}%" for power in powers]
    left = 36 + max(width_of(label) for label in [*labels, "never"])
    # A rate of zero has no logarithm: such latents stand on a shelf of their own.
    zero = floor * 1.17
    x = scale(zero * 1.06, 0.05, left, width - right)
    y = scale(zero * 1.06, 0.05, height - bottom, top)
    parts = []
    for power, label in zip(powers, labels, strict=True):
        parts += [
            _vertical(x(power), top, height - bottom, "rule"),
            _across(y(power), left, x(0.05)),
        ]
        anchor = "end" if power == 0 else "middle"
        parts.append(text(label, x(power), height - bottom + 18, text_anchor=anchor))
        parts.append(text(label, left - 8, y(power) + 4, text_anchor="end"))
    parts.append(text("never", x(zero), height - bottom + 18, text_anchor="middle"))
    parts.append(text("never", left - 8, y(zero) + 4, text_anchor="end"))
    parts.append(element("line", x1=x(floor), y1=y(floor), x2=x(0), y2=y(0), class_="border"))
    places = [
        [x_or_y(math.log10(rate) if rate > 0 else zero) for rate in side]
        for x_or_y, side in ((x, image), (y, caption))
    ]
    shown = np.flatnonzero(alive).tolist()
    if len(shown) > _N_DOTS:
        parts += _many_dots(dominance, shown, places)
    for i in shown if len(shown) <= _N_DOTS else ():
        name = dominance.classes[i]
        hint = f"latent {i} · {name} · {image[i]:.2%} of images, {caption[i]:.2%} of captions"
        parts.append(
            element(
                "circle",
                title(hint),
                cx=places[0][i],
                cy=places[1][i],
                r=3.6,
                fill=COLOURS[name],
                fill_opacity=0.8,
                class_="mark",
            )
        )
    parts += _axis_titles(
        "fires on this share of images →",
        "fires on this share of captions →",
        (left + width - right) / 2,
        (top + height - bottom) / 2,
        height - 10,
    )
    return figure(width, height, "Firing rates on images and on captions", *parts)


def _many_dots(
    dominance: ModalityDominance, shown: list[int], places: list[list[float]]
) -> list[str]:
    """One path a class: an element and a hint a latent would make the page megabytes large."""
    by_class: dict[str, set[str]] = {}
    for i in shown:
        at = f"M{places[0][i]:.0f} {places[1][i]:.0f}h0"
        by_class.setdefault(dominance.classes[i], set()).add(at)
    return [
        element(
            "path",
            title(f"{dominance.class_counts[name]} {name}"),
            d="".join(sorted(dots)),
            stroke=COLOURS[name],
            stroke_width=5,
            stroke_linecap="round",
            stroke_opacity=0.6,
        )
        for name, dots in by_class.items()
    ]


def calibration_plot(calibration: Calibration) -> Markup:
    """Median score of each factor's latents against the factor's true dominance."""
    width, height, left, right, top, bottom = 500, 420, 74, 14, 14, 54
    x = scale(-0.03, 1.03, left, width - right)
    y = scale(-0.03, 1.03, height - bottom, top)
    tolerance = calibration.tolerance
    band = [(0, -tolerance), (0, tolerance), (1, 1 + tolerance), (1, 1 - tolerance)]
    points = " ".join(f"{x(a):.1f},{y(min(max(b, -0.03), 1.03)):.1f}" for a, b in band)
    parts = [
        element("polygon", points=points, class_="band"),
        element("line", x1=x(0), y1=y(0), x2=x(1), y2=y(1), class_="border"),
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_across(y(tick), left, width - right))
        parts.append(text(f"{tick:g}", x(tick), height - bottom + 18, text_anchor="middle"))
        parts.append(text(f"{tick:g}", left - 8, y(tick) + 4, text_anchor="end"))
    for row, shift in _side_by_side(calibration):
        assert row.median is not None and row.quartiles is not None
        centre = x(row.truth) + shift
        hint = (
            f"{row.factor}: drawn {row.drawn:g}, said {row.said:g}, truth {row.truth:.2f}, "
            f"median {row.median:.2f} of {n_latents(row.n_latents)}"
        )
        parts.append(
            element(
                "g",
                title(hint),
                element(
                    "line",
                    x1=centre,
                    x2=centre,
                    y1=y(row.quartiles[0]),
                    y2=y(row.quartiles[1]),
                    stroke=COLOURS[row.modality],
                    stroke_width=2,
                ),
                element(
                    "circle",
                    cx=centre,
                    cy=y(row.median),
                    r=5,
                    fill=COLOURS[row.modality] if row.graded else None,
                    stroke=COLOURS[row.modality],
                    class_="mark" if row.graded else "hollow",
                ),
            )
        )
    parts += _axis_titles(
        "true dominance of the factor",
        "median score of its latents",
        (left + width - right) / 2,
        (top + height - bottom) / 2,
        height - 10,
    )
    return figure(width, height, "Median score against true dominance, factor by factor", *parts)


def whisker(value: float, low: float, high: float, colour: str) -> Markup:
    """One score on the 0–1 scale, with its interval."""
    width, height = 230, 34
    x = scale(0, 1, 8, width - 8)
    return figure(
        width,
        height,
        f"score {value:.2f}, interval {low:.2f} to {high:.2f}",
        element("line", x1=x(0), x2=x(1), y1=12, y2=12, class_="axis"),
        element("line", x1=x(0.5), x2=x(0.5), y1=8, y2=16, class_="axis"),
        element(
            "line",
            x1=x(low),
            x2=x(high),
            y1=12,
            y2=12,
            stroke=colour,
            stroke_width=4,
            stroke_opacity=0.45,
            stroke_linecap="round",
        ),
        element("circle", cx=x(value), cy=12, r=5, fill=colour, class_="mark"),
        text("text", x(0), 31),
        text("image", x(1), 31, text_anchor="end"),
    )


def _side_by_side(calibration: Calibration):
    """Factors that share a truth are set apart, so that none hides another."""
    found = [row for row in calibration.rows if row.median is not None]
    for truth in sorted({row.truth for row in found}):
        group = [row for row in found if row.truth == truth]
        for i, row in enumerate(group):
            yield row, (i - (len(group) - 1) / 2) * 11


def _x_axis_score(x, base: float) -> str:
    parts = [element("line", x1=x(0), x2=x(1), y1=base, y2=base, class_="axis")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(text(f"{tick:g}", x(tick), base + 18, text_anchor="middle"))
    low, name, high = "← all text", "modality dominance score", "all image →"
    has_room = width_of(low + name + high) < x(1) - x(0)
    parts.append(text(low, x(0), base + 40, class_="strong"))
    parts.append(text(name if has_room else "score", x(0.5), base + 40, text_anchor="middle"))
    parts.append(text(high, x(1), base + 40, text_anchor="end", class_="strong"))
    return "".join(parts)


def _y_axis(peak: int, y, left: float, right: float, label: str) -> str:
    step = _round_step(peak / 4)
    parts = []
    for tick in range(0, peak + 1, step):
        parts.append(_across(y(tick), left, right))
        parts.append(text(f"{tick:,}", left - 8, y(tick) + 4, text_anchor="end"))
    # Above the borders' own labels, which may stand at the axis.
    parts.append(text(label, 0, 14))
    return "".join(parts)


def _axis_titles(across: str, up: str, centre: float, middle: float, base: float) -> list[str]:
    turned = f"rotate(-90 14 {middle:g})"
    return [
        text(across, centre, base, text_anchor="middle"),
        text(up, 14, middle, text_anchor="middle", transform=turned),
    ]


def _round_step(rough: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    power = 10 ** max(math.floor(math.log10(max(rough, 1))), 0)
    return int(next(power * m for m in (1, 2, 5, 10) if power * m >= rough or m == 10))


def _vertical(x: float, top: float, bottom: float, kind: str) -> str:
    return element("line", x1=x, x2=x, y1=top, y2=bottom, class_=kind)


def _across(y: float, left: float, right: float) -> str:
    return element("line", x1=left, x2=right, y1=y, y2=y, class_="rule")
