"""``mm-sae extract``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.commands.engine import EngineName
from mm_sae_plugin.commands.model_choice import ModelChoice
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs.images import DEFAULT_BACKGROUND, DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from mm_sae_plugin.engines import Engine


@dataclass(frozen=True)
class ExtractCommand:
    """Run a model over image–caption pairs and store its activations."""

    pairs: str
    """factorworld:N, a .csv, .tsv, .jsonl or .parquet file, an image folder, shards-{000..003}.tar,
    or hf:DATASET."""
    out: Path
    """Folder for the activation store; an interrupted extraction into it is resumed."""
    image_column: str | None = None
    """Column of the image paths; by default image or file_name."""
    caption_column: str | None = None
    """Column of the captions; by default caption or text. One that is named is never replaced by
    another."""
    id_column: str | None = None
    """Column that names the image; captions with the same id belong to one image."""
    label_columns: tuple[str, ...] = ()
    """Further columns to keep beside each pair."""
    background: str = DEFAULT_BACKGROUND
    """Colour that transparent pictures are laid on: a name or a hex code."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Pictures with more pixels are skipped before they are decoded."""
    encoding: str | None = None
    """Encoding of text files without a byte-order mark, such as cp1252; UTF-8 by default."""
    engine: EngineName = "local"
    """`local` encodes in this process; `ray` on the cluster at the environment variable
    RAY_ADDRESS, all machines of which see the pictures and `out` under the same paths, or without
    it in processes of this machine. The store is the same."""
    n_workers: int = 1
    """Workers of Ray. Each holds the model, and computes on as many threads as this process would
    (OMP_NUM_THREADS) or on a GPU if `device` says so."""
    choice: ModelChoice = field(default_factory=ModelChoice)
    settings: ExtractConfig = field(default_factory=ExtractConfig)

    def run(self) -> None:
        """Extract, and say what was stored and what was skipped."""
        from mm_sae_plugin.activations import extract
        from mm_sae_plugin.pairs import load_pairs

        engine = self._engine()
        # The pairs are listed first: a wrong column should not wait for a model.
        source = load_pairs(
            self.pairs,
            self.image_column,
            self.caption_column,
            self.id_column,
            self.label_columns,
            max_pixels=self.max_pixels,
            background=self.background,
            encoding=self.encoding,
        )
        store = extract(self.choice.load(), source, self.out, self.settings, engine=engine)
        manifest = store.manifest
        print(f"{manifest.n_images:,} images and {manifest.n_pairs:,} pairs are in {self.out}.")
        pictures = manifest.pictures
        if pictures and pictures.n_with_alpha:
            ground = f"laid on {self.background} (--background)"
            print(f"Pictures with transparent parts, {ground}: {pictures.n_with_alpha:,}.")
        if pictures and pictures.n_one_colour:
            print(
                f"Pictures of one single colour, on which nothing shows: {pictures.n_one_colour:,}."
            )
        if manifest.skipped:
            print(f"{len(manifest.skipped):,} were skipped; the first of them:")
            for name, reason in manifest.skipped[:5]:
                print(f"  {name}: {reason}")

    def _engine(self) -> "Engine | None":
        if self.engine == "local":
            if self.n_workers != 1:
                raise UserError(
                    "--n-workers counts workers of Ray: give --engine ray too, or leave it out; "
                    "--num-workers says how many processes open the pictures."
                )
            return None
        from mm_sae_plugin.engines import RayEngine

        on_gpu = (self.settings.device or "").startswith("cuda")
        return RayEngine(self.n_workers, n_gpus_each=1 if on_gpu else 0)
