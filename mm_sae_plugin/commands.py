"""What each subcommand of ``mm-sae`` takes and does; nothing heavy is imported before it runs."""

from dataclasses import dataclass, field
from pathlib import Path

from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.stats.config import ModalityConfig
from mm_sae_plugin.training.config import MultimodalSAERunnerConfig


@dataclass(frozen=True)
class ModelChoice:
    """Which model to look into."""

    model: str = "factorworld"
    """`factorworld`, `factorworld-declip`, an open_clip model name, or `hf:ID_OR_FOLDER`."""
    pretrained: str | None = None
    """For an open_clip model: a tag of pretrained weights, or a checkpoint file."""

    def load(self):
        """Load the model as a ``HookedCLIP``."""
        from mm_sae_plugin.models import load_model

        return load_model(self.model, self.pretrained)


@dataclass(frozen=True)
class HooksCommand:
    """List a model's hook points with the shapes of their activations."""

    choice: ModelChoice = field(default_factory=ModelChoice)

    def run(self) -> None:
        """Print one line per hook point."""
        shapes = self.choice.load().hook_shapes()
        width = max(len(name) for name in shapes)
        for name, shape in shapes.items():
            print(f"{name:{width}}  [{', '.join(str(size) for size in shape)}]")


@dataclass(frozen=True)
class ExtractCommand:
    """Run a model over image–caption pairs and store its activations."""

    pairs: str
    """factorworld:N, a .csv, .tsv or .parquet file, an image folder, shards-{000..003}.tar, or
    hf:DATASET."""
    out: Path
    """Folder for the activation store; an interrupted extraction into it is resumed."""
    image_column: str = "image"
    """Column of the image paths."""
    caption_column: str = "caption"
    """Column of the captions."""
    id_column: str | None = None
    """Column that names the image; captions with the same id belong to one image."""
    label_columns: tuple[str, ...] = ()
    """Further columns to keep beside each pair."""
    choice: ModelChoice = field(default_factory=ModelChoice)
    settings: ExtractConfig = field(default_factory=ExtractConfig)

    def run(self) -> None:
        """Extract, and say what was stored and what was skipped."""
        from mm_sae_plugin.activations import extract
        from mm_sae_plugin.pairs import load_pairs

        # The pairs are listed first: a wrong column should not wait for a model.
        source = load_pairs(
            self.pairs,
            self.image_column,
            self.caption_column,
            self.id_column,
            self.label_columns,
        )
        store = extract(self.choice.load(), source, self.out, self.settings)
        manifest = store.manifest
        print(f"{manifest.n_images:,} images and {manifest.n_pairs:,} pairs are in {self.out}.")
        if manifest.skipped:
            print(f"{len(manifest.skipped):,} were skipped; the first of them:")
            for name, reason in manifest.skipped[:5]:
                print(f"  {name}: {reason}")


def run_train(cfg: MultimodalSAERunnerConfig) -> None:
    """Train an SAE on a store and print its quality for each modality."""
    from mm_sae_plugin.training import MultimodalSAETrainingRunner

    if cfg.acts is None or cfg.out is None:
        raise UserError("Training needs the activation store, --acts, and an SAE folder, --out.")
    result = MultimodalSAETrainingRunner(cfg).run()
    evaluation = result.evaluation
    for side in evaluation.explained_variance:
        print(
            f"{side}: explained variance {evaluation.explained_variance[side]:.3f}, "
            f"L0 {evaluation.l0[side]:.1f}, "
            f"{evaluation.n_dead_by_modality[side]} latents never fire"
        )
    print(f"The SAE is in {result.path}.")


@dataclass(frozen=True)
class MdsCommand:
    """Score every latent's modality, write scores and classes into the SAE folder."""

    sae: Path
    """The SAE folder."""
    acts: Path
    """The activation store."""
    n_workers: int = 1
    """Threads; the result has the same bits for any number."""
    settings: ModalityConfig = field(default_factory=ModalityConfig)

    def run(self) -> None:
        """Score, save and print the table."""
        from rich import print as rich_print

        from mm_sae_plugin.activations import ActivationStore
        from mm_sae_plugin.report import terminal_table
        from mm_sae_plugin.workflow import (
            check_truth,
            evaluate_sae,
            label_sae,
            open_sae,
        )

        opened = open_sae(self.sae, ActivationStore.open(self.acts))
        dominance = label_sae(opened, self.settings, self.n_workers)
        truth = check_truth(opened, dominance) or (None, None)
        rich_print(terminal_table(dominance, evaluate_sae(opened), *truth))
        print(f"Scores and classes are in {self.sae / 'modality.parquet'}.")


@dataclass(frozen=True)
class ReportCommand:
    """Write one self-contained HTML page about a labelled SAE."""

    sae: Path
    """The SAE folder, labelled by `mm-sae mds`."""
    acts: Path
    """The activation store."""
    out: Path = Path("report.html")
    """The page to write."""
    n_per_class: int = 8
    """Latents to show of each class."""

    def run(self) -> None:
        """Write the page and say where it is."""
        from mm_sae_plugin.activations import ActivationStore
        from mm_sae_plugin.stats import ModalityDominance
        from mm_sae_plugin.workflow import check_truth, evaluate_sae, open_sae, write_report

        opened = open_sae(self.sae, ActivationStore.open(self.acts))
        dominance = ModalityDominance.load(self.sae)
        truth = check_truth(opened, dominance)
        write_report(opened, dominance, self.out, truth, evaluate_sae(opened), self.n_per_class)
        print(f"The report is {self.out}.")
