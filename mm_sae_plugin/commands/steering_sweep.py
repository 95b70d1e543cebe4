"""``mm-sae steering-sweep``."""

from dataclasses import dataclass
from pathlib import Path

from mm_sae_plugin.errors import UserError, check_numbers
from mm_sae_plugin.files import atomic_path, refuse_unwritable
from mm_sae_plugin.wording import n_latents

_CARDS, _CARD = 1_000_000, 1


@dataclass(frozen=True)
class SteeringSweepCommand:
    """Draw a prompt pulled towards a picture by one modality class at a time."""

    out: Path
    """The picture to write, such as sweep.png."""
    prompt: str = "two big red cars left at night"
    """What is drawn."""
    image: Path | None = None
    """The reference; by default a card of FactorWorld with a purple cup."""
    sae: Path = Path("runs/quickstart/sae")
    """Folder of a labelled SAE of the pipeline's encoder."""
    acts: Path | None = None
    """The activation store; by default the one that the SAE was trained on."""
    pipeline: str | None = None
    """Folder or name of a diffusers pipeline; by default the embedded generator."""
    classes: tuple[str, ...] = ("ImgD", "TextD", "CrossD")
    """A row for each; those without latents are left out."""
    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
    """A column for each: 1 takes all of the reference's codes."""
    seed: int = 0
    """Of the noise, the same for every picture."""

    def run(self) -> None:
        """Draw the sheet and write it."""
        import torch
        from tqdm import tqdm

        from mm_sae_plugin.applications.steering import Painter, mix
        from mm_sae_plugin.factorworld import FactorWorld
        from mm_sae_plugin.report.strengths import strengths_sheet
        from mm_sae_plugin.stats.config import CLASSES
        from mm_sae_plugin.study import Study
        from mm_sae_plugin.study.given import pictures

        check_numbers(self)
        if not self.strengths:
            raise UserError("There is no strength to draw: give --strengths 0 0.5 1.")
        if self.out.suffix.lower() != ".png":
            raise UserError(f"{self.out} is no name of a PNG file: end it in .png.")
        refuse_unwritable(self.out)
        torch.set_num_threads(1)
        study = Study.open(self.sae, self.acts)
        given = self.image or FactorWorld(_CARDS).pair(_CARD).image
        reference = pictures([given])[0]
        # A name that is no class goes on to the mixer, which says so.
        chosen = [n for n in self.classes if n not in CLASSES or study.labels.latents(n)]
        if not chosen:
            raise UserError(f"This SAE has no latents of {' or '.join(self.classes)}.")
        edits = {name: mix(study, {name: 1.0}, image=reference) for name in chosen}
        painter = Painter.open(study, self.pipeline)
        rows = []
        n_all = len(edits) * len(self.strengths)
        with tqdm(total=n_all, desc="drawing") as bar:
            for name, edit in edits.items():
                drawn = []
                swept = painter.sweep(self.prompt, self.seed, edit, self.strengths)
                for strength, painted in swept:
                    drawn.append((strength, painted.picture))
                    bar.update()
                rows.append((name, n_latents(len(study.labels.latents(name))), drawn))
        sheet = strengths_sheet(self.prompt, self.seed, reference, rows)
        with atomic_path(self.out) as temporary:
            sheet.save(temporary, format="PNG")
        print(f"Wrote {self.out}.")
