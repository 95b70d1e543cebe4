"""Which latents fire on a caption: the beginning of the explorer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.lock import alone_with
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of
from mm_sae_plugin.demos.common.uploads import picture_input, uploaded_picture
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.study import Study

if TYPE_CHECKING:
    import gradio as gr

_HEADERS = ["Latent", "Activation", "Class", "Score", "Partner"]
_TOP = 12


def build(options: DemoOptions) -> gr.Blocks:
    """Make the page of an SAE.

    Raises
    ------
    UserError
        If the folder holds no labelled SAE, or its encoder cannot be loaded.
    """
    import gradio as gr

    study = Study.open(options.sae)
    # Faults of the folder are told now, in the terminal, and not at the first click.
    counts = study.labels.class_counts
    model = study.model
    title = DEMOS["explorer"].title

    def table(**asked) -> list[list[object]]:
        with alone_with(model):
            return [
                [
                    found.latent,
                    round(found.activation, 4),
                    found.modality_class,
                    round(found.score, 3),
                    "" if found.partner is None else found.partner,
                ]
                for found in study.latents_of(**asked, top=_TOP)
            ]

    @told
    def on_caption(caption: str):
        if not caption.strip():
            raise UserError("Type a caption first, such as: two red cars at dusk.")
        manifest = manifest_of(study, "explorer", {"caption": caption, "top": _TOP})
        return table(text=caption), manifest_file(manifest)

    @told
    def on_picture(path: str | None):
        return table(image=uploaded_picture(path))

    with gr.Blocks(title=title, analytics_enabled=False) as app:
        gr.Markdown(f"# {title}\n{_about(study, counts)}")
        caption = gr.Textbox(label="Caption", placeholder="two red cars at dusk", max_length=1000)
        ask = gr.Button("Which latents fire on the caption?", variant="primary")
        of_caption = gr.Dataframe(
            headers=_HEADERS, label="Latents that fire on the caption", interactive=False
        )
        manifest = gr.DownloadButton("Download the manifest of this answer", interactive=False)
        picture = picture_input(label="Picture", height=260)
        of_picture = gr.Dataframe(
            headers=_HEADERS, label="Latents that fire on the picture", interactive=False
        )
        answered = gr.on(
            [caption.submit, ask.click],
            on_caption,
            caption,
            [of_caption, manifest],
            api_name="latents_of_caption",
        )
        answered.success(
            lambda: gr.DownloadButton(interactive=True), None, manifest, api_visibility="private"
        )
        picture.upload(on_picture, picture, of_picture, api_name="latents_of_picture")
    return app


def _about(study: Study, counts: dict[str, int]) -> str:
    told_counts = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)
    name = study.path.resolve()
    return f"The SAE `{name.parent.name}/{name.name}` has {told_counts}."
