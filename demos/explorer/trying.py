"""A picture and a caption: which latents fire, what they add to the similarity, and edits."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.keeping import place_for
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of
from mm_sae_plugin.demos.common.uploads import picture_input, uploaded_picture
from mm_sae_plugin.demos.explorer import drawing
from mm_sae_plugin.demos.explorer.drawing import STACK
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.factorworld import FactorWorld
from mm_sae_plugin.interventions import FeatureEdit, edited

if TYPE_CHECKING:
    from PIL.Image import Image

_TOP = 8
_WORLD = 1_000_000
_MOST_CAPTIONS = 20


def trying_tab(explorer: Explorer) -> None:
    """Lay the tab out."""
    import gradio as gr

    study = explorer.study

    def draw(seed: float):
        # Other cards than any store's: no store is drawn with this seed by default.
        card = FactorWorld(_WORLD).pair(int(seed or 0))
        path = place_for("card.png")
        card.image.save(path)
        return str(path), card.caption

    @told
    def compare(path: str | None, caption: str, others: str, latents: str, factor: float):
        picture = uploaded_picture(path)
        if not caption.strip():
            raise UserError("Type a caption first, such as: two red cars at dusk.")
        captions = [caption, *[line for line in others.splitlines() if line.strip()]]
        if len(captions) > _MOST_CAPTIONS:
            raise UserError(f"Give at most {_MOST_CAPTIONS - 1} more captions.")
        numbers = _numbers(latents)
        with alone_with(study.model):
            comparison = study.compare(picture, caption)
            before = _similarities(explorer, picture, captions)
            edit = FeatureEdit.none(study)
            if numbers:
                edit = FeatureEdit.scale(study, factor, latents=numbers)
            with edited(study, edit):
                after = _similarities(explorer, picture, captions)
        asked = {"caption": caption, "captions": captions[1:], "factor": factor}
        manifest = manifest_of(study, "explorer", asked, edit=edit)
        return (
            _fired(explorer, "picture", comparison.image, comparison.similarity),
            _fired(explorer, "caption", comparison.text, comparison.similarity),
            _moved(captions, before, after, bool(numbers)),
            manifest_file(manifest),
        )

    with gr.Row(elem_classes=STACK):
        with gr.Column():
            picture = picture_input(label="Picture", height=220)
            seed = gr.Number(0, label="Card number", precision=0, minimum=0)
            card = gr.Button("Draw a FactorWorld card")
        with gr.Column():
            caption = gr.Textbox(label="Caption", placeholder="two red cars", max_length=1000)
            others = gr.Textbox(label="More captions to compare with, one a line", lines=3)
            latents = gr.Textbox(label="Latents to edit, by number", placeholder="12, 77")
            factor = gr.Slider(
                0,
                4,
                value=0,
                step=0.1,
                label="Times their activation: 0 ablates, 1 keeps",
            )
            ask = gr.Button("Compare", variant="primary")
    with gr.Row(elem_classes=STACK):
        of_picture, of_caption = gr.HTML(), gr.HTML()
    moved = gr.HTML()
    manifest = gr.DownloadButton("Download the manifest of this answer", interactive=False)
    card.click(draw, seed, [picture, caption], api_name="card")
    inputs = [picture, caption, others, latents, factor]
    outputs = [of_picture, of_caption, moved, manifest]
    gr.on(
        [ask.click, caption.submit, factor.release, latents.submit],
        compare,
        inputs,
        outputs,
        api_name="compare",
    ).success(lambda: gr.DownloadButton(interactive=True), None, manifest, api_visibility="private")


def _numbers(given: str) -> list[int]:
    parts = [part.strip().removeprefix("#") for part in given.replace(";", ",").split(",")]
    wrong = next((part for part in parts if part and not part.isdecimal()), None)
    if wrong is not None:
        raise UserError(f"{wrong[:40]!r} is no latent: give numbers with commas between, 12, 77.")
    return [int(part) for part in parts if part]


def _similarities(explorer: Explorer, picture: Image, captions: list[str]) -> list[float]:
    image, texts = explorer.study.model([picture], captions)
    return (texts @ image[0]).tolist()


def _fired(explorer: Explorer, what: str, side: Any, similarity: float) -> str:
    labels = explorer.study.labels
    rows = []
    for latent, value in side.most(_TOP):
        name = explorer.table.loc[latent, "name"] or ""
        label = f'<a href="?latent={latent}">#{latent}</a> {drawing.dot(labels.classes[latent])}'
        rows.append((f"{label} <span class='lt-soft'>{escape(str(name))}</span>", value))
    rows += [
        ("all other latents", side.others(_TOP)),
        ("bias", side.bias),
        ("not reconstructed", side.error),
    ]
    return (
        f"<h3>What the {what}'s latents add to the similarity of {similarity:.3f}</h3>"
        f"{drawing.contributions(rows)}"
    )


def _moved(captions: list[str], before: list[float], after: list[float], is_edited: bool) -> str:
    lines = [
        f"<tr><th scope='row' dir='auto'>{escape(caption)}</th><td>{old:.3f}</td>"
        + (f"<td>{new:.3f}</td><td>{new - old:+.3f}</td>" if is_edited else "")
        + "</tr>"
        for caption, old, new in zip(captions, before, after, strict=True)
    ]
    more = "<th scope='col'>edited</th><th scope='col'>change</th>" if is_edited else ""
    return (
        "<h3>Similarity of the picture with each caption</h3><table class='lt-bars lt-wide'><tr>"
        f"<th scope='col'>caption</th><th scope='col'>as it is</th>{more}</tr>"
        f"{''.join(lines)}</table>"
    )
