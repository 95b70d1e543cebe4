"""Just enough to draw a figure: escaped SVG elements and a linear scale."""

from collections.abc import Callable
from html import escape

from markupsafe import Markup


def element(tag: str, *children: str, **attributes: object) -> str:
    """One SVG element; `class_` becomes `class`, underscores become hyphens.

    Attribute values are escaped; children are markup already (see `text` for plain strings).
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{written}>{''.join(children)}</{tag}>"


def text(content: str, x: float, y: float, **attributes: object) -> str:
    """Text at a point, escaped."""
    return element("text", escape(content), x=x, y=y, **attributes)


def title(content: str) -> str:
    """What is shown when the pointer rests on the parent element."""
    return element("title", escape(content))


def figure(width: float, height: float, label: str, *children: str) -> Markup:
    """A drawing that scales with the page; `label` is read out to those who cannot see it.

    The one place where markup made by hand is declared safe for the page's templates: `element`
    and `text` have escaped what it was made from.
    """
    return Markup(
        element(
            "svg",
            *children,
            viewBox=f"0 0 {width:g} {height:g}",
            role="img",
            aria_label=label,
            class_="figure",
            style=f"max-width:{width:g}px",
        )
    )


def document(width: float, height: float, label: str, style: str, *children: str) -> str:
    """A drawing that is a file of its own, on a white ground; `style` is what a page would say."""
    return element(
        "svg",
        element("style", style),
        element("rect", width=width, height=height, fill="#fff"),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
    )


def width_of(label: str) -> float:
    """About how wide a label of figures is, in the units of a drawing.

    The page sets letters at 12, and at up to 16 where a drawing shrinks: room is for those.
    """
    return 9.5 * len(label)


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map [low, high] linearly to [start, end]."""
    width = (high - low) or 1.0
    return lambda value: start + (value - low) / width * (end - start)


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
