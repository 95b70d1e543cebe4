"""``mm-sae extract``."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.commands.engine import EngineName, sleep_while_waiting
from mm_sae_plugin.commands.model_choice import ModelChoice
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.hook_names import is_token_site
from mm_sae_plugin.pairs.images import DEFAULT_BACKGROUND, DEFAULT_MAX_PIXELS

if TYPE_CHECKING:
    from mm_sae_plugin.activations.manifest import StoreManifest
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
    image_hooks: tuple[str, ...] | None = None
    """Several image hooks, taken in one pass instead of `--image-hook`: the store of each is the
    folder of `out` that has its name."""
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
        sleep_while_waiting()
        from mm_sae_plugin.activations import extract, extract_several
        from mm_sae_plugin.pairs import load_pairs

        self._check_image_hooks()
        if self.image_hooks and self.settings.image_hook != ExtractConfig().image_hook:
            raise UserError(
                f"--image-hooks is given instead of --image-hook: name {self.settings.image_hook} "
                "among the others, and leave --image-hook out."
            )
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
        model = self.choice.load()
        if self.image_hooks:
            stores = extract_several(model, source, self._several())
        else:
            stores = {self.out: extract(model, source, self.out, self.settings, engine=engine)}
        for out, store in stores.items():
            self._tell(out, store.manifest)

    def _check_image_hooks(self) -> None:
        if self.image_hooks == ():
            raise UserError("--image-hooks names no hook: give some, or leave it out.")
        twice = [hook for hook, n in Counter(self.image_hooks).items() if n > 1]
        if twice:
            raise UserError(f"--image-hooks names {twice[0]} twice: leave one out.")

    def _several(self) -> dict[Path, ExtractConfig]:
        """Folder of each store -> what to take; what to keep of tokens is said of tokens alone."""
        return {
            self.out / hook: replace(
                self.settings,
                image_hook=hook,
                token_mode=self.settings.token_mode if is_token_site(hook) else None,
            )
            for hook in self.image_hooks or ()
        }

    def _tell(self, out: Path, manifest: "StoreManifest") -> None:
        print(f"{manifest.n_images:,} images and {manifest.n_pairs:,} pairs are in {out}.")
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
        if self.image_hooks:
            raise UserError(
                "Several image hooks are taken in one pass by this process alone: leave --engine "
                "out, or give --image-hook one after the other."
            )
        from mm_sae_plugin.engines import RayEngine

        on_gpu = (self.settings.device or "").startswith("cuda")
        return RayEngine(self.n_workers, n_gpus_each=1 if on_gpu else 0)
