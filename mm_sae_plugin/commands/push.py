"""``mm-sae push``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class PushCommand:
    """Upload an SAE with its labels and a model card to the Hugging Face hub."""

    repo: Annotated[str, tyro.conf.Positional]
    """The repository, owner/name; it is made where it does not exist."""
    sae: Path
    """The SAE folder."""
    sae_id: str | None = None
    """The folder in the repository; by default the SAE folder's name."""
    private: bool = False
    """Make the repository private; by default it is public."""
    keep_card: bool = False
    """Leave the README.md that the repository has as it is."""
    dry_run: Path | None = None
    """Write what would be uploaded into this folder, to look at, and upload nothing."""

    def run(self) -> None:
        """Upload, and say how to open it."""
        from mm_sae_plugin.saes.hub import push_sae, stage_sae

        if self.dry_run is not None:
            stage_sae(self.sae, self.repo, self.dry_run, self.sae_id)
            print(f"Nothing was uploaded; what would be is in {self.dry_run}.")
            return
        sae_id = push_sae(self.sae, self.repo, self.sae_id, self.private, self.keep_card)
        print(f"The SAE is at https://huggingface.co/{self.repo}.")
        print(f'SAELens opens it with SAE.from_pretrained("{self.repo}", "{sae_id}").')
