"""What a model's gap of gender comes from: classes, concepts and latents."""

from __future__ import annotations

from html import escape

from mm_sae_plugin.applications.bias.attributed import Attributed, ClassRow, LatentRow
from mm_sae_plugin.applications.bias.bench import Measured
from mm_sae_plugin.applications.bias.twins import GENDER
from mm_sae_plugin.demos.bias.classes_figure import class_of, classes_figure, rows_of
from mm_sae_plugin.demos.bias.drawing import class_dot, part, side_by_side, signed, soft, table
from mm_sae_plugin.demos.bias.subject import Subject

OWN, PAPER = "carried", "the paper's"
"""By which score latents are put into classes."""
_LEVEL = 0.05
_TICKS = (
    "Bars: what is left of the signed gap without the class. Ticks: without each of {n} random "
    "sets of as many latents that fire as often and as strongly; a bar among its ticks is no "
    "finding. * No such sets exist (few text-dominant latents fire on images at all, and the other "
    "way round), so that this row and its ticks move every vector equally far (|Δe|) instead."
)


def attributed(subject: Subject, by: str) -> str:
    """Bars and table of the classes, by one of the two scores."""
    found = subject.attributed
    rows = rows_of(found, by == PAPER)
    n_random = max((len(row.removed.random) for row in rows), default=0)
    asymmetry = found.asymmetry_paper if by == PAPER else found.asymmetry
    return part(
        f"By class: {subject.name}",
        _whole(subject, found),
        side_by_side(
            [
                classes_figure(subject.name, found, rows) + soft(_TICKS.format(n=n_random)),
                _costs(found, rows),
            ]
        ),
        "<h4>Is gender held asymmetrically?</h4>",
        f"<p>That {escape(asymmetry.first)} lies in ImgD and {escape(asymmetry.second)} in TextD "
        f"latents is <b>{escape(asymmetry.verdict)}</b> here. {escape(asymmetry.reason)}</p>",
    )


def _whole(subject: Subject, found: Attributed) -> str:
    test = subject.audit(GENDER).direction
    doubt = ""
    if test.p > _LEVEL:
        doubt = (
            " <b>This model’s gaps do not follow the direction</b>, so that there is little to "
            "attribute: what moves below moves by chance."
        )
    return (
        f"<p>The signed gap of gender is {signed(found.whole)} logits on the half of the twins "
        f"that nothing was chosen by, and {signed(found.reconstruction_only)} of what the SAE "
        f"reconstructs alone.{doubt}</p>"
    )


def _costs(found: Attributed, rows: list[ClassRow]) -> str:
    lines = [("as it is", "", "", *_use(found.measured))]
    for row in rows:
        lines.append(
            (
                class_dot(class_of(row)),
                row.removed.side,
                f"{row.n_by_association}",
                *_use(row.measured),
            )
        )
    heads = ("removed", "side", "by association", "gap", "gender read", "caption found")
    return table(heads, lines, wide=True) + soft(
        "The class taken out as it is, not at equal |Δe|. Gender read: share of pictures of which "
        f"a linear probe reads the gender, {found.measured.chance:.2f} by chance: a gap that goes "
        "because gender is erased is no cure. Caption found: pictures that find their own caption "
        "among 256. By association: latents that the other side carries by association only."
    )


def _use(measured: Measured) -> tuple[str, str, str]:
    found = "–" if measured.retrieval is None else f"{measured.retrieval:.2f}"
    return signed(measured.summary), f"{measured.readable:.2f}", found


def strongest(subject: Subject) -> str:
    """The latents that take most of the gap with them."""
    rows = [_latent(subject, row) for row in subject.attributed.latents]
    heads = ("latent", "class", "the paper’s", "takes", "when chosen")
    return part(
        f"By latent: {subject.name}",
        table(heads, rows, wide=True),
        soft(
            "Takes: how much of the gap goes with the latent, on the half of the twins that it was "
            "not chosen by; when chosen: on the other half. Latents share what they hold, so that "
            "what they take does not add up. Names are guesses from captions."
        ),
    )


def _latent(subject: Subject, row: LatentRow) -> tuple[str, ...]:
    associated = " by association" if row.by_association else ""
    return (
        f"#{row.latent} {escape(name_of(subject, row.latent))}",
        class_dot(row.modality_class) + associated,
        class_dot(row.paper_class),
        signed(row.taken),
        signed(row.taken_choosing),
    )


def name_of(subject: Subject, latent: int) -> str:
    """What a latent may be called; empty where there is no guess."""
    return str(subject.explorer.table["name"].iloc[latent] or "")
