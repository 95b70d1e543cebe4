"""``mm-sae explain``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ExplainCommand:
    """Say which latents fire on a picture, on a caption, and what their similarity is made of."""

    sae: Path
    """The SAE folder, labelled by `mm-sae mds`."""
    image: Path | None = None
    """A picture."""
    text: str | None = None
    """A caption."""
    top: int = 5
    """Latents to show of each."""
    edit: Path | None = None
    """A preset of an edit, as `edit.save` or the explorer writes it: how far it moves the
    similarity."""
    acts: Path | None = None
    """The activation store; by default the one that the SAE was trained on."""

    def run(self) -> None:
        """Print one table for each that is given, and one for both together."""
        import torch
        from rich import print as rich_print

        from mm_sae_plugin.applications.explorer import Explorer, similarities
        from mm_sae_plugin.interventions import FeatureEdit
        from mm_sae_plugin.report.explanation import contributions_table, latents_table
        from mm_sae_plugin.study import Study
        from mm_sae_plugin.study.given import pictures

        if self.image is None and self.text is None:
            raise UserError("There is nothing to explain: give --image, --text or both.")
        if self.edit is not None and (self.image is None or self.text is None):
            raise UserError("An edit moves a similarity: give --image and --text with --edit.")
        # The process is ours: two threads on a busy machine are slower than one.
        torch.set_num_threads(1)
        explorer = Explorer.open(Study.open(self.sae, self.acts), progress=True)
        given: list[tuple[str, dict[str, Any]]] = []
        if self.image is not None:
            given.append((f"the picture {self.image.name}", {"image": self.image}))
        if self.text is not None:
            given.append((f"“{self.text}”", {"text": self.text}))
        found: list[tuple[str, pd.DataFrame]] = [
            (f"Latents that fire on {what}", explorer.search(**asked, top=self.top))
            for what, asked in given
        ]
        # Everything is found before anything is printed: one sentence, or the whole answer.
        similarity = edited = None
        if self.image is not None and self.text is not None:
            similarity = explorer.study.compare(self.image, self.text)
            if self.edit is not None:
                edit = FeatureEdit.load(self.edit, explorer.study)
                (picture,) = pictures([self.image])
                (edited,) = similarities(explorer.study, picture, [self.text], edit)
        for title, latents in found:
            rich_print(latents_table(title, latents))
        if similarity is not None:
            rich_print(contributions_table(similarity, explorer.table, self.top))
        if similarity is not None and edited is not None:
            change = edited - similarity.similarity
            print(f"With the edit it is {edited:.3f}, a change of {change:+.3f}.")
