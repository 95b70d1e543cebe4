"""Files that a visitor can take along."""

from __future__ import annotations

import tempfile
from pathlib import Path


def written(name: str, content: str | bytes) -> str:
    """Write a file for a download button, in a folder of its own; returns its path."""
    # Below Gradio's own folder for files, which goes away when the demo ends.
    path = Path(tempfile.mkdtemp(dir=_folder())) / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def _folder() -> Path:
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder
