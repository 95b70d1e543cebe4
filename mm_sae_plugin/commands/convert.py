"""``mm-sae convert``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class ConvertCommand:
    """Write an SAE of ViT-Prisma or saev as an SAE folder. Nothing in its files is run."""

    source: Annotated[Path, tyro.conf.Positional]
    """Prisma's folder or weights file, or saev's sae.pt."""
    kind: Literal["prisma", "saev"]
    """Whose it is."""
    out: Path
    """The SAE folder to write."""
    model: str | None = None
    """The model it was trained on, as --model takes it elsewhere; saev's files do not say."""
    hook: str | None = None
    """The hook it was trained at, such as vision.blocks.10.hook_resid_post; saev's files do not
    say."""
    subtract_b_dec: bool | None = None
    """For saev's files of schema 1: whether the encoder subtracts b_dec first."""

    def run(self) -> None:
        """Convert, and say what it is."""
        from sae_lens import SAE

        from mm_sae_plugin.saes.converters import convert_sae

        folder = convert_sae(
            self.source,
            self.kind,
            self.out,
            model_name=self.model,
            hook_name=self.hook,
            subtract_b_dec=self.subtract_b_dec,
        )
        cfg = SAE.load_from_disk(folder).cfg
        hook = cfg.metadata.hook_name or "a hook that its files do not say"
        print(f"A {cfg.architecture()} SAE with {cfg.d_sae} latents of {hook} is in {folder}.")
