"""Files that Gradio may hand out, and that go away with the demo."""

from __future__ import annotations

import tempfile
from pathlib import Path


def place_for(name: str) -> Path:
    """Return a path for a file of this name, in a folder of its own.

    It lies below Gradio's folder for files, which :func:`private_uploads` takes away in the end.
    """
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder)) / name


def written(name: str, content: str | bytes) -> str:
    """Write a file for a download button; returns its path."""
    path = place_for(name)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)
