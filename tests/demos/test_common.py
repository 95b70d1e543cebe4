"""Lock, errors, look and launch that every demo shares."""

import os
import re
import socket
import threading
from pathlib import Path

import pytest
from torch import nn

from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.launch import (
    HOST,
    choose_port,
    prepare_gradio,
    private_uploads,
    served,
)
from mm_sae_plugin.demos.common.lock import alone_with, lock_of
from mm_sae_plugin.demos.common.theme import css, report_colours, theme
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.report.palette import COLOURS


def test_one_event_at_a_time_has_a_model():
    model, other = nn.Linear(1, 1), nn.Linear(1, 1)
    refused = []

    def second():
        try:
            with alone_with(model, patience_s=0.05):
                pass
        except UserError as error:
            refused.append(str(error))

    with alone_with(model), alone_with(other):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert refused == ["The model is busy with another request: try again in a moment."]
    with pytest.raises(ZeroDivisionError), alone_with(model):
        raise ZeroDivisionError
    assert not lock_of(model).locked()


def test_a_generators_steps_may_run_in_several_threads():
    model = nn.Linear(1, 1)

    def steps():
        with alone_with(model):
            yield 1
            yield 2

    running, seen = steps(), []
    for _ in range(3):
        thread = threading.Thread(target=lambda: seen.extend([next(running, "end")]))
        thread.start()
        thread.join()
    assert seen == [1, 2, "end"]
    assert not lock_of(model).locked()


def test_faults_become_sentences_that_are_no_html(caplog):
    import gradio as gr

    @told
    def at_once(typed: str):
        raise UserError(f"There is no {typed}.")

    @told
    def stepwise(typed: str):
        yield typed
        raise UserError(f"There is no {typed}.")

    @told
    def broken():
        raise ValueError("/a/path of ours")

    for raises in (lambda: at_once("<b>"), lambda: list(stepwise("<b>"))):
        with pytest.raises(gr.Error) as shown:
            raises()
        assert shown.value.message == "There is no &lt;b&gt;."
    with pytest.raises(gr.Error) as shown:
        broken()
    assert "/a/path" not in shown.value.message and "the terminal" in shown.value.message
    assert "/a/path of ours" in caplog.text


def test_the_look_is_the_reports():
    light, dark = report_colours()
    assert set(light) == set(dark) and light["page"] != dark["page"]
    sheet = css()
    assert all(f".class-{name}{{--class:{colour}}}" in sheet for name, colour in COLOURS.items())
    chosen = theme()
    assert (chosen.body_background_fill, chosen.body_background_fill_dark) == (
        light["page"],
        dark["page"],
    )
    whole = sheet + chosen._get_theme_css()
    assert not re.search(r"""https?://(?!www\.w3\.org/)|@import|url\((?!["']?data:)""", whole)
    assert not chosen._stylesheets


def test_a_server_is_for_this_machine_alone(monkeypatch):
    monkeypatch.setenv("GRADIO_ALLOWED_PATHS", "/")
    monkeypatch.setenv("GRADIO_SHARE", "true")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    prepare_gradio()
    import gradio as gr

    with gr.Blocks(analytics_enabled=False) as app:
        gr.Markdown("# Empty")
    with served(app, choose_port(0)) as address:
        assert address == f"http://{HOST}:{app.server_port}"
        assert (app.share, app.share_url, app.allowed_paths) == (False, None, [])
        assert (app.run_history, app.footer_links, app.api_open) == (False, [], False)
        assert app.max_file_size and app._queue.max_size
        port = app.server_port
        with pytest.raises(UserError, match=f"^Port {port} is taken"):
            choose_port(port)
        # Nothing listens where other machines could reach it.
        own = socket.gethostbyname(socket.gethostname())
        if own != HOST and not own.startswith("127."):
            with pytest.raises(OSError), socket.create_connection((own, port), timeout=2):
                pass
    assert choose_port(port) == port


def test_uploads_go_away_with_the_demo():
    before = os.environ.get("GRADIO_TEMP_DIR")
    with private_uploads():
        folder = Path(os.environ["GRADIO_TEMP_DIR"])
        (folder / "face.png").write_bytes(b"face")
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    assert os.environ.get("GRADIO_TEMP_DIR") == before
