"""The one place that starts a server, so that no demo can be open to the world by mistake."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import plain_write_errors

if TYPE_CHECKING:
    import gradio as gr

HOST = "127.0.0.1"
"""Demos are for the person at this machine."""
_FIRST_PORT = 7860
_N_PORTS = 100
_MAX_WAITING = 16
_ENDED = "The demo has ended."


def choose_port(asked: int | None = None) -> int:
    """Return a free port.

    Parameters
    ----------
    asked : int, optional
        The port that must be free, or 0 for any; by default the first free one from 7860 on.

    Raises
    ------
    UserError
        If the port is taken or may not be used, or none is free.
    """
    if asked is None:
        for port in range(_FIRST_PORT, _FIRST_PORT + _N_PORTS):
            if _bound(port) is not None:
                return port
        raise UserError(
            f"The ports {_FIRST_PORT} to {_FIRST_PORT + _N_PORTS - 1} are all taken: give another "
            "one with --port."
        )
    if not 0 <= asked <= 65535:
        raise UserError(f"A port is a number from 1 to 65535 (0 takes any free one), not {asked}.")
    port = _bound(asked)
    if port is None:
        raise UserError(
            f"Port {asked} is taken, or not yours to use: end what runs there, or give another one "
            "with --port."
        )
    return port


def _bound(port: int) -> int | None:
    """The port that was bound for a moment, None where it cannot be."""
    with socket.socket() as probe:
        # As servers do it: connections of an earlier one that are closing do not count.
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return None
        return probe.getsockname()[1]


def prepare_gradio() -> None:
    """Set what Gradio and its libraries read when they are imported; call it before that."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Gradio asks its own server whether it answers, and would ask by way of a proxy.
    for name in ("NO_PROXY", "no_proxy"):
        kept = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*kept, HOST]))
    # What would open more than this machine's own files, or hand work to more processes.
    for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_ROOT_PATH", "GRADIO_NUM_WORKERS", "GRADIO_SHARE"):
        os.environ.pop(name, None)


@contextmanager
def served(app: gr.Blocks, port: int, open_browser: bool = False) -> Iterator[str]:
    """Serve an app on this machine until the block ends; yields its address.

    Parameters
    ----------
    app : gr.Blocks
    port : int
        A free one, from :func:`choose_port`.
    open_browser : bool
        Show it in the browser.

    Raises
    ------
    UserError
        If the port was taken meanwhile.
    """
    from mm_sae_plugin.demos.common.theme import css, theme
    from mm_sae_plugin.demos.common.uploads import MAX_UPLOAD_BYTES

    prepare_gradio()
    app.queue(max_size=_MAX_WAITING, default_concurrency_limit=1, api_open=False)
    try:
        _, address, _ = app.launch(
            server_name=HOST,
            server_port=port,
            share=False,
            inbrowser=open_browser,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
            # Uploads may show people.
            run_history=False,
            max_file_size=MAX_UPLOAD_BYTES,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            theme=theme(),
            css=css(),
        )
    except OSError as error:
        raise UserError(f"Port {port} was taken meanwhile: run the same command again.") from error
    try:
        yield address.rstrip("/")
    finally:
        app.close(verbose=False)


@contextmanager
def private_uploads() -> Iterator[None]:
    """Keep what visitors upload in a folder of this process, which goes away with it.

    Gradio's own is shared by all that runs on the machine, and is never emptied. Enter it before an
    app is built: components note the folder.
    """
    name = "GRADIO_TEMP_DIR"
    before = os.environ.get(name)
    with (
        plain_write_errors(tempfile.gettempdir()),
        tempfile.TemporaryDirectory(prefix="mm-sae-demo-", ignore_cleanup_errors=True) as folder,
    ):
        os.environ[name] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before


def launch(app: gr.Blocks, port: int, open_browser: bool = True) -> None:
    """Serve an app until Ctrl-C or SIGTERM.

    Raises
    ------
    KeyboardInterrupt
        Always in the end, or :class:`Terminated`, with a sentence for the terminal.
    """
    try:
        with served(app, port, open_browser) as address:
            print(f"Open {address} in a browser; Ctrl-C ends the demo.", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt as interruption:
        raise type(interruption)(_ENDED) from None
