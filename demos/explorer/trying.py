"""A picture and a caption: which latents fire, what they add to the similarity, and edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from mm_sae_plugin.applications.explorer import Explorer, similarities
from mm_sae_plugin.demos.common.card import card_input
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of, picture_hash
from mm_sae_plugin.demos.common.presets import preset_file, uploaded_preset
from mm_sae_plugin.demos.common.theme import SIGNED
from mm_sae_plugin.demos.common.typed import filled, finite_number, slider_input, whole_number
from mm_sae_plugin.demos.common.uploads import picture_input, uploaded_picture
from mm_sae_plugin.demos.explorer import drawing
from mm_sae_plugin.demos.explorer.drawing import STACK
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.interventions import FeatureEdit
from mm_sae_plugin.study import Study
from mm_sae_plugin.study.given import checked_latents

if TYPE_CHECKING:
    from mm_sae_plugin.features.similarity import Comparison

_TOP = 8
_N_SLIDERS = 6
_MOST_CAPTIONS = 20
_STALE = "What is below is of an earlier picture or captions: compare again."
# What a slider does -> its ends, and where it changes nothing.
_TIMES, _PLUS = "times their activation", "plus typical activations"
_RANGES = {_TIMES: (0.0, 4.0, 1.0), _PLUS: (-2.0, 2.0, 0.0)}


def trying_tab(explorer: Explorer) -> None:
    """Lay the tab out."""
    import gradio as gr

    study = explorer.study

    def asked(path: str | None, caption: Any, others: Any) -> tuple[Image, list[str]]:
        picture = uploaded_picture(path)
        caption = filled("The caption", caption)
        captions = [caption, *[line for line in (others or "").splitlines() if line.strip()]]
        if len(captions) > _MOST_CAPTIONS:
            raise UserError(f"Give at most {_MOST_CAPTIONS - 1} more captions.")
        return picture, captions

    def shown_sliders(latents: list[int], how: str) -> list[Any]:
        low, high, start = _RANGES[how]
        labels = [_called(explorer, latent) for latent in latents]
        sliders = [
            gr.Slider(
                minimum=low,
                maximum=high,
                value=start,
                label=label,
                visible=True,
                elem_classes=SIGNED if low < 0 else [],
            )
            for label in labels
        ]
        return sliders + [gr.Slider(visible=False) for _ in range(_N_SLIDERS - len(sliders))]

    @told
    def compare(path: str | None, caption: Any, others: Any, typed: Any, how: str, preset: Any):
        picture, captions = asked(path, caption, others)
        edit = uploaded_preset(preset, study) or FeatureEdit.none(study)
        with alone_with(study.model):
            comparison = study.compare(picture, caption)
            before = similarities(study, picture, captions)
            # An SAE that cannot be edited can be looked at all the same.
            after = similarities(study, picture, captions, edit) if edit.steps else before
        latents = _chosen(explorer, typed or "", comparison)
        return (
            _Compared(picture, captions, before, latents, how, edit),
            _fired(explorer, "picture", comparison.image, comparison.similarity),
            _fired(explorer, "caption", comparison.text, comparison.similarity),
            _moved(captions, before, after),
            "",
            *shown_sliders(latents, how),
        )

    def mark(compared: _Compared | None, path: str | None, caption: Any, others: Any):
        """Say so where picture or captions are others by now."""
        if compared is None:
            return ""
        try:
            picture, captions = asked(path, caption, others)
        # It is told when it is compared.
        except UserError:
            return _STALE
        is_same = captions == compared.captions and picture == compared.picture
        return "" if is_same else _STALE

    @told
    def move(compared: _Compared | None, *values: Any):
        if compared is None:
            raise UserError("Compare a picture and a caption first.")
        edit = compared.edit_by(study, values)
        with alone_with(study.model):
            after = similarities(study, compared.picture, compared.captions, edit)
        asked_for = {
            "picture_sha256": picture_hash(compared.picture),
            "captions": compared.captions,
        }
        return (
            _moved(compared.captions, compared.before, after),
            manifest_file(manifest_of(study, "explorer", asked_for, edit=edit)),
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
    status = gr.Markdown(elem_classes="lt-soft")
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
            slider_input(0, 4, 1, step=0.05, label=f"Latent {n + 1}", visible=False, min_width=280)
            for n in range(_N_SLIDERS)
        ]
    with gr.Row():
        manifest = gr.DownloadButton("Download the manifest", interactive=False)
        kept = gr.DownloadButton("Download the edit as a preset", interactive=False)
    # Sliders are of what was compared, whatever the fields say by now.
    compared = gr.State(None)
    answers = [moved, manifest, kept]
    asking = gr.on(
        [ask.click, caption.submit, typed.submit, how.change, preset.upload, preset.clear],
        compare,
        [picture, caption, others, typed, how, preset],
        [compared, of_picture, of_caption, moved, status, *sliders],
        api_name="compare",
    )
    gr.on(
        [picture.change, caption.blur, others.blur],
        mark,
        [compared, picture, caption, others],
        status,
        queue=False,
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )
    gr.on(
        [slider.input for slider in sliders],
        move,
        [compared, *sliders],
        answers,
        api_name="edit",
        trigger_mode="always_last",
        show_progress="hidden",
    )
    asking.success(
        move, [compared, *sliders], answers, api_visibility="private", show_progress="hidden"
    ).success(
        lambda: [gr.DownloadButton(interactive=True)] * 2,
        None,
        [manifest, kept],
        api_visibility="private",
    )


@dataclass(frozen=True)
class _Compared:
    """What the sliders edit."""

    picture: Image
    captions: list[str]
    before: list[float]
    latents: list[int]
    how: str
    preset: FeatureEdit

    def edit_by(self, study: Study, values: Sequence[Any]) -> FeatureEdit:
        """The preset, and then what the sliders say."""
        _, _, start = _RANGES[self.how]
        maker = FeatureEdit.scale if self.how == _TIMES else FeatureEdit.add
        edit = self.preset
        for latent, value in zip(self.latents, values, strict=False):
            amount = finite_number(f"The slider of latent {latent}", value)
            if amount != start:
                edit += maker(study, amount, latents=[latent])
        return edit


def _chosen(explorer: Explorer, typed: str, comparison: Comparison) -> list[int]:
    """Latents that were typed, or else those that add most or take most."""
    parts = [part for part in typed.replace(";", ",").split(",") if part.strip()]
    numbers = [whole_number(part) for part in parts]
    if None in numbers:
        wrong = parts[numbers.index(None)].strip()
        raise UserError(f"{wrong[:40]!r} is no latent: give numbers with commas between, 12, 77.")
    if len(parts) > _N_SLIDERS:
        raise UserError(f"Give at most {_N_SLIDERS} latents; you gave {len(parts)}.")
    if parts:
        n_features = explorer.study.feature_map.n_features
        return list(checked_latents(numbers, n_features))
    added: dict[int, float] = {}
    for side in (comparison.image, comparison.text):
        for latent, value in side.most(_N_SLIDERS):
            added[latent] = max(added.get(latent, 0.0), abs(value))
    return sorted(added, key=lambda latent: -added[latent])[:_N_SLIDERS]


def _called(explorer: Explorer, latent: int) -> str:
    name = explorer.table["name"].iloc[latent] or ""
    return f"#{latent} {name} ({explorer.study.labels.classes[latent]})"


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


def _moved(captions: list[str], before: list[float], after: list[float]) -> str:
    lines = [
        f"<tr><th scope='row' dir='auto'>{escape(caption)}</th><td>{old:.3f}</td>"
        f"<td>{new:.3f}</td><td>{drawing.change(old, new)}</td></tr>"
        for caption, old, new in zip(captions, before, after, strict=True)
    ]
    return (
        "<h3>Similarity of the picture with each caption</h3><table class='lt-bars lt-wide'><tr>"
        "<th scope='col'>caption</th><th scope='col'>as it is</th><th scope='col'>edited</th>"
        f"<th scope='col'>change</th></tr>{''.join(lines)}</table>"
    )
