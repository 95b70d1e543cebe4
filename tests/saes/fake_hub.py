"""A stand-in of the hub: repositories are folders on this disk."""

import shutil
from fnmatch import fnmatch
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError

_CLIENT, _SNAPSHOT = huggingface_hub.HfApi, huggingface_hub.snapshot_download


class FakeHub:
    """Answers what the hub's client is asked; every call must suit the client's own signature."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.is_private: dict[str, bool] = {}
        self.error: Exception | None = None

    def folder(self, repo_id: str) -> Path:
        """Where the files of a repository lie."""
        return self.root / repo_id.replace("/", "--")

    def files(self, repo_id: str) -> list[str]:
        """Names in a repository."""
        folder = self.folder(repo_id)
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

    # ------------------------------------------------------------------ the client's methods

    def create_repo(self, *args: Any, **options: Any) -> None:
        given = signature(_CLIENT.create_repo).bind(self, *args, **options).arguments
        if self.error is not None:
            raise self.error
        self.folder(given["repo_id"]).mkdir(parents=True, exist_ok=True)
        self.is_private.setdefault(given["repo_id"], bool(given["private"]))

    def repo_info(self, *args: Any, **options: Any) -> SimpleNamespace:
        given = signature(_CLIENT.repo_info).bind(self, *args, **options).arguments
        return SimpleNamespace(private=self.is_private[given["repo_id"]])

    def list_repo_files(self, *args: Any, **options: Any) -> list[str]:
        return self.files(signature(_CLIENT.list_repo_files).bind(self, *args).arguments["repo_id"])

    def upload_folder(self, **options: Any) -> None:
        given = signature(_CLIENT.upload_folder).bind(self, **options).arguments
        repo = self.folder(given["repo_id"])
        for name in self.files(given["repo_id"]):
            if any(fnmatch(name, pattern) for pattern in given["delete_patterns"]):
                (repo / name).unlink()
        shutil.copytree(given["folder_path"], repo, dirs_exist_ok=True)

    # ------------------------------------------------------------------ downloads

    def snapshot_download(self, repo_id: str, **options: Any) -> str:
        given = signature(_SNAPSHOT).bind(repo_id, **options).arguments
        if self.error is not None:
            raise self.error
        place = self.root / "cache" / repo_id
        for name in self.files(repo_id):
            if fnmatch(name, given["allow_patterns"]):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.folder(repo_id) / name, place / name)
        return str(place)

    def hf_hub_download(self, repo_id: str, filename: str, **_: Any) -> str:
        path = self.folder(repo_id) / filename
        if not path.is_file():
            raise EntryNotFoundError(filename)
        return str(path)


def install(monkeypatch: pytest.MonkeyPatch, root: Path, token: str | None = "hf_x") -> FakeHub:
    """Put a stand-in where this package and SAELens ask for the hub."""
    hub = FakeHub(root)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: token)
    monkeypatch.setattr("huggingface_hub.snapshot_download", hub.snapshot_download)
    monkeypatch.setattr(
        "sae_lens.loading.pretrained_sae_loaders.hf_hub_download", hub.hf_hub_download
    )
    return hub
