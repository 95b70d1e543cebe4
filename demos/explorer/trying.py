"""A picture and a caption: which latents fire, what they add to the similarity, and edits."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer import Explorer, similarities
from mm_sae_plugin.demos.common.card import card_input
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of
from mm_sae_plugin.demos.common.presets import preset_file, uploaded_preset
from mm_sae_plugin.demos.common.uploads import picture_input, uploaded_picture
from mm_sae_plugin.demos.explorer import drawing
from mm_sae_plugin.demos.explorer.drawing import STACK
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.study.given import checked_latents, refuse_empty

if TYPE_CHECKING:
    from PIL.Image import Image

    from mm_sae_plugin.features.similarity import Comparison

_TOP = 8
_N_SLIDERS = 6
_MOST_CAPTIONS = 20
# What a slider does -> its ends, and where it changes nothing.
_TIMES, _PLUS = "times their activation", "plus typical activations"
_RANGES = {_TIMES: (0.0, 4.0, 1.0), _PLUS: (-2.0, 2.0, 0.0)}


def trying_tab(explorer: Explorer) -> None:
    """Lay the tab out."""
    import gradio as gr

    study = explorer.study

    def asked(path: str | None, caption: str, others: str) -> tuple[Image, list[str]]:
        picture = uploaded_picture(path)
        refuse_empty(caption)
        captions = [caption, *[line for line in others.splitlines() if line.strip()]]
        if len(captions) > _MOST_CAPTIONS:
            raise UserError(f"Give at most {_MOST_CAPTIONS - 1} more captions.")
        return picture, captions

    def shown_sliders(latents: list[int], how: str) -> list[Any]:
        low, high, start = _RANGES[how]
        labels = [_called(explorer, latent) for latent in latents]
        sliders = [
            gr.Slider(minimum=low, maximum=high, value=start, label=label, visible=True)
            for label in labels
        ]
        return sliders + [gr.Slider(visible=False) for _ in range(_N_SLIDERS - len(sliders))]

    @told
    def compare(path: str | None, caption: str, others: str, typed: str, how: str, preset: Any):
        picture, captions = asked(path, caption, others)
        given = uploaded_preset(preset, study)
        with alone_with(study.model):
            comparison = study.compare(picture, caption)
            before = similarities(study, picture, captions)
            after = None if given is None else similarities(study, picture, captions, given)
        latents = _chosen(explorer, typed, comparison)
        return (
            _fired(explorer, "picture", comparison.image, comparison.similarity),
            _fired(explorer, "caption", comparison.text, comparison.similarity),
            _moved(captions, before, after),
            *shown_sliders(latents, how),
        )

    @told
    def move(
        path: str | None, caption: str, others: str, typed: str, how: str, preset: Any, *moved: Any
    ):
        picture, captions = asked(path, caption, others)
        with alone_with(study.model):
            comparison = study.compare(picture, caption)
            latents = _chosen(explorer, typed, comparison)
            edit = uploaded_preset(preset, study) or FeatureEdit.none(study)
            edit += _edit(explorer, latents, how, moved)
            before = similarities(study, picture, captions)
            after = similarities(study, picture, captions, edit)
        told_asked = {"caption": caption, "captions": captions[1:]}
        return (
            _moved(captions, before, after),
            manifest_file(manifest_of(study, "explorer", told_asked, edit=edit)),
            preset_file(edit),
        )

    with gr.Row(elem_classes=STACK):
        with gr.Column():
            picture = picture_input(label="Picture", height=220)
            cards = gr.Column()
        with gr.Column():
            caption = gr.Textbox(label="Caption", placeholder="two red cars", max_length=1000)
            others = gr.Textbox(label="More captions to compare with, one a line", lines=3)
            ask = gr.Button("Compare", variant="primary")
    with cards:
        card_input(picture, caption)
    with gr.Row(elem_classes=STACK):
        of_picture, of_caption = gr.HTML(), gr.HTML()
    moved = gr.HTML()
    gr.Markdown("### Edit latents, and see the similarities move")
    with gr.Row(elem_classes=STACK):
        typed = gr.Textbox(
            label="Latents, by number; without any, those that add most",
            placeholder="12, 77",
        )
        how = gr.Dropdown(list(_RANGES), value=_TIMES, label="A slider gives them")
        preset = gr.File(label="Preset of an edit, done first (JSON)", height=150)
    with gr.Row():
        sliders = [
            gr.Slider(0, 4, 1, step=0.05, label=f"Latent {n + 1}", visible=False, min_width=280)
            for n in range(_N_SLIDERS)
        ]
    with gr.Row():
        manifest = gr.DownloadButton("Download the manifest", interactive=False)
        kept = gr.DownloadButton("Download the edit as a preset", interactive=False)
    given = [picture, caption, others, typed, how, preset]
    answers = [moved, manifest, kept]
    asking = gr.on(
        [ask.click, caption.submit, typed.submit, how.change, preset.upload, preset.clear],
        compare,
        given,
        [of_picture, of_caption, moved, *sliders],
        api_name="compare",
    )
    gr.on(
        [slider.input for slider in sliders],
        move,
        [*given, *sliders],
        answers,
        api_name="edit",
        trigger_mode="always_last",
        show_progress="hidden",
    )
    keeping = [manifest, kept]
    asking.success(
        move, [*given, *sliders], answers, api_visibility="private", show_progress="hidden"
    ).success(
        lambda: [gr.DownloadButton(interactive=True)] * 2, None, keeping, api_visibility="private"
    )


def _chosen(explorer: Explorer, typed: str, comparison: Comparison) -> list[int]:
    """Latents that were typed, or else those that add most or take most."""
    parts = [part.strip().removeprefix("#") for part in typed.replace(";", ",").split(",")]
    parts = [part for part in parts if part]
    wrong = next((part for part in parts if not part.isdecimal()), None)
    if wrong is not None:
        raise UserError(f"{wrong[:40]!r} is no latent: give numbers with commas between, 12, 77.")
    if len(parts) > _N_SLIDERS:
        raise UserError(f"Give at most {_N_SLIDERS} latents; you gave {len(parts)}.")
    if parts:
        n_features = explorer.study.feature_map.n_features
        return list(checked_latents([int(part) for part in parts], n_features))
    added: dict[int, float] = {}
    for side in (comparison.image, comparison.text):
        for latent, value in side.most(_N_SLIDERS):
            added[latent] = max(added.get(latent, 0.0), abs(value))
    return sorted(added, key=lambda latent: -added[latent])[:_N_SLIDERS]


def _called(explorer: Explorer, latent: int) -> str:
    name = explorer.table["name"].iloc[latent] or ""
    return f"#{latent} {name} ({explorer.study.labels.classes[latent]})"


def _edit(explorer: Explorer, latents: list[int], how: str, moved: Sequence[Any]) -> FeatureEdit:
    study, (_, _, start) = explorer.study, _RANGES[how]
    maker = FeatureEdit.scale if how == _TIMES else FeatureEdit.add
    edit = FeatureEdit.none(study)
    for latent, value in zip(latents, moved, strict=False):
        if value is not None and value != start:
            edit += maker(study, value, latents=[latent])
    return edit


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


def _moved(captions: list[str], before: list[float], after: list[float] | None) -> str:
    lines = []
    for row, (caption, old) in enumerate(zip(captions, before, strict=True)):
        new = old if after is None else after[row]
        lines.append(
            f"<tr><th scope='row' dir='auto'>{escape(caption)}</th><td>{old:.3f}</td>"
            f"<td>{new:.3f}</td><td>{drawing.change(old, new)}</td></tr>"
        )
    return (
        "<h3>Similarity of the picture with each caption</h3><table class='lt-bars lt-wide'><tr>"
        "<th scope='col'>caption</th><th scope='col'>as it is</th><th scope='col'>edited</th>"
        f"<th scope='col'>change</th></tr>{''.join(lines)}</table>"
    )
