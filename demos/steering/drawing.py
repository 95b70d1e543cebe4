"""Pieces of HTML: pictures side by side, progress, and what moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.steering.painting import Painted
from mm_sae_plugin.applications.steering.reading import Answer
from mm_sae_plugin.applications.steering.retrieval import Found, Rerank
from mm_sae_plugin.demos.common.pieces import dot, picture
from mm_sae_plugin.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

_LARGE = 512
"""Pixels of a drawn picture's longer side at most."""
STACK = "st-stack"
"""Class of the row of the page's parts, which stand below each other on a narrow screen."""
# Events that draw wait in a line of their own, where they can be told of and stopped.
DRAWS: dict[str, Any] = {
    "show_progress": "hidden",
    "concurrency_id": "drawing",
    "concurrency_limit": 16,
}
"""How events that draw behave."""
STYLE = """
.st-stack{display:grid!important;grid-template:"use edit" auto "more edit" 1fr/6fr 5fr;
gap:16px 24px!important}
.st-use{grid-area:use}.st-edit{grid-area:edit}.st-more{grid-area:more}
.st-pair{display:grid;grid-template-columns:1fr 1fr;gap:16px;max-width:560px}
.st-grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:12px}
.st-small{grid-template-columns:repeat(auto-fill,minmax(80px,1fr));gap:8px}
:is(.st-pair,.st-grid) figure{margin:0}
:is(.st-pair,.st-grid) img{width:100%;border-radius:8px;display:block;background:var(--band)}
:is(.st-pair,.st-grid) figcaption,.st-soft{color:var(--soft);font-size:13px;overflow-wrap:anywhere}
.st-soft p{font-size:13px!important;color:var(--soft)!important}
p.st-soft{color:var(--soft)!important}
.st-try{align-items:center!important;gap:8px!important}
.st-try .column{flex:none!important;min-width:max-content!important}
.st-grid figcaption{white-space:pre-line}
:is(.st-pair,.st-grid) figcaption{margin-top:4px}
.st-empty{aspect-ratio:1;border-radius:8px;background:var(--band)}
.st-part h3{margin:18px 0 8px!important}
.st-table{border-collapse:collapse!important;border:0!important;width:100%;max-width:560px}
.st-table :is(td,th,tr){border:0!important;background:none!important}
.st-table :is(td,th){padding:4px 10px 4px 0!important;text-align:left!important;
font-weight:400!important;vertical-align:top}
.st-table [scope=col]{color:var(--soft)}
.st-table .st-moved{font-weight:650!important}
.st-cards{height:auto!important}
.st-cards :is(.gallery-container,.grid-wrap){height:auto!important;min-height:0!important;
overflow:visible!important}
.st-cards .grid-container{grid-template-columns:repeat(6,1fr)!important;gap:8px!important;
padding:36px 8px 8px!important;height:auto!important;
grid-template-rows:auto!important;grid-auto-rows:auto!important}
.st-cards .thumbnail-item{width:100%!important;height:auto!important;aspect-ratio:1}
.st-cards .caption-label{display:none}
.st-progress{display:flex;gap:12px;align-items:center;min-height:28px}
.st-progress progress{appearance:none;width:180px;height:10px;flex:none;border:0;
border-radius:5px;overflow:hidden;background:var(--line)}
.st-progress ::-webkit-progress-bar{background:var(--line)}
.st-progress ::-webkit-progress-value{background:var(--accent)}
.st-progress ::-moz-progress-bar{background:var(--accent)}
@media (max-width:700px){.st-stack{grid-template:"use" "edit" "more"/minmax(0,1fr)}
.st-progress progress{width:110px}
.st-table{table-layout:fixed}
.st-table :is(td,th){padding-right:4px!important;font-size:12px;overflow-wrap:anywhere}
.st-try .column{width:100%}}
"""


def called(study: Study, table: pd.DataFrame, latent: int) -> str:
    """A latent's number, name and class, as plain text."""
    name = table["name"].iloc[latent]
    return " ".join(
        part for part in (f"#{latent}", name, f"({study.labels.classes[latent]})") if part
    )


def side_by_side(before: Image | None, after: Image | None, prompt: str) -> str:
    """The prompt as it is, and edited; an empty field where there is no picture yet."""
    shown = [
        _drawn(before, f"Drawn of “{prompt}” as it is", "as it is"),
        _drawn(after, f"Drawn of “{prompt}” with the edit", "edited, from the same noise"),
    ]
    return f'<div class="st-pair">{"".join(shown)}</div>'


def progress(told: str, n_begun: int, n_steps: int) -> str:
    """How far a drawing is."""
    share = f"step {n_begun} of {n_steps}"
    return (
        f'<div class="st-progress"><progress max="{n_steps}" value="{n_begun}" '
        f'aria-label="{escape(told)}"></progress><span>{escape(told)}: {share}</span></div>'
    )


def sentence(told: str) -> str:
    """A line in place of the progress."""
    if not told:
        return ""
    return f'<div class="st-progress" role="status">{escape(told)}</div>'


def waiting(n_before: int) -> str:
    """Whose turn it is."""
    others = "another drawing" if n_before == 1 else f"{n_before} other drawings"
    return sentence(f"Waiting for {others} …")


def halted(step: Any, has_older: bool) -> str:
    """Where a drawing was stopped, and whether what is shown is of an earlier one."""
    where = "before its first step" if step is None else step.where
    older = " What is shown is of the drawing before." if has_older else ""
    return sentence(f"Stopped {where}.{older}")


def movement(study: Study, table: pd.DataFrame, moved: float, latents: Sequence) -> str:
    """How far a vector moved, and which latents moved most."""
    rows = [
        f"<tr><th scope='row'>#{latent} {dot(study.labels.classes[latent])}</th>"
        f"<td>{escape(str(table['name'].iloc[latent]))}</td><td>{_signed(change)}</td></tr>"
        for latent, change in latents
    ]
    told = (
        f"<p>The vector moved by <b>{moved:.2f}</b> of its length (|Δe| / |e|), most by these "
        "latents:</p>"
        if rows
        else f"<p>The vector moved by <b>{moved:.2f}</b> of its length (|Δe| / |e|).</p>"
    )
    if not rows:
        return f'<div class="st-part"><h3>What the edit moved</h3>{told}</div>'
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("latent", "name", "change"))
    return (
        f'<div class="st-part"><h3>What the edit moved</h3>{told}<table class="st-table">'
        f"<tr>{head}</tr>{''.join(rows)}</table>"
        '<p class="st-soft">Change: how far the latent’s activation rose (+) or fell (−). Names '
        "are guesses from captions.</p></div>"
    )


def _signed(change: float) -> str:
    return f"{change:+.2f}".replace("-", "−")


def answers(found: Iterable[Answer]) -> str:
    """What a classifier reads off both pictures, against what was asked and the reference."""
    found = list(found)
    with_reference = any(answer.reference for answer in found)
    heads = ["factor", "asked", "as it is", "edited", *["reference"] * with_reference]
    head = "".join(f"<th scope='col'>{name}</th>" for name in heads)
    lines = []
    for answer in found:
        cells = f"<td>{answer.asked or '–'}</td><td>{answer.before}</td>"
        cells += f"<td{' class=st-moved' if answer.is_changed else ''}>{answer.after}</td>"
        if with_reference:
            cells += f"<td>{answer.reference}</td>"
        lines.append(f"<tr><th scope='row'>{answer.factor}</th>{cells}</tr>")
    return (
        f'<div class="st-part"><h3>What the pictures show</h3><p>{_shown(found)}</p>'
        f'<table class="st-table"><tr>{head}</tr>{"".join(lines)}</table>'
        '<p class="st-soft">Read by a classifier that shares nothing with the generator; bold '
        "where the edit changed it.</p></div>"
    )


def swept(drawn: Iterable[tuple[float, Painted, str]], prompt: str) -> str:
    """Pictures of a sweep with what each strength came to."""
    shown = [
        picture(
            painted.picture,
            f"Drawn of “{prompt}” with {strength:g} times the edit",
            f"× {strength:g}{told}\n|Δe| / |e| {painted.moved:.2f}",
            _LARGE,
        )
        for strength, painted, told in drawn
    ]
    return f'<div class="st-grid">{"".join(shown)}</div>'


def reranked(study: Study, found: Rerank) -> str:
    """A search as it is and edited, best first."""
    return (
        '<div class="st-part"><p class="st-soft">Below each picture: its rank, and its similarity '
        "with the query (the cosine of both vectors; 1 is the same direction).</p>"
        f"<h3>As it is</h3>{_ranking(study, found.before, False)}"
        f"<h3>Edited</h3>{_ranking(study, found.after, True)}</div>"
    )


def _ranking(study: Study, ranking: Sequence[Found], with_before: bool) -> str:
    store = study.store
    captions = {int(row): said for row, said in zip(store.image_index, store.captions, strict=True)}
    shown = []
    for found in ranking:
        told = f"{found.rank}: {found.similarity:.3f}"
        if with_before:
            told += "\nstays" if found.rank == found.rank_before else f"\nwas {found.rank_before:,}"
        alt = captions.get(found.image, f"image {found.image}")
        shown.append(picture(store.open_image(found.image), alt, told))
    return f'<div class="st-grid st-small">{"".join(shown)}</div>'


def _shown(found: Sequence[Answer]) -> str:
    asked = [answer for answer in found if answer.asked]
    if not asked:
        return "The prompt names nothing that the classifier reads."
    before, after = (
        sum(shown == answer.asked for answer, shown in zip(asked, column, strict=True))
        for column in ([a.before for a in asked], [a.after for a in asked])
    )
    return (
        f"Of {len(asked)} things that the prompt asks for, the picture shows {before} as it is "
        f"and {after} edited."
    )


def _drawn(image: Image | None, alt: str, told: str) -> str:
    if image is None:
        return f'<figure><div class="st-empty"></div><figcaption>{told}</figcaption></figure>'
    return picture(image, alt, told, _LARGE)
