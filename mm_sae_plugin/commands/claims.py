"""``mm-sae claims``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path, refuse_unwritable, write_json_atomically

_RECORD, _PAGE = "claims.json", "claims.md"


@dataclass(frozen=True)
class ClaimsCommand:
    """Write the claims of Yan et al. 2025 with what was measured of each, and a verdict."""

    evaluations: Positional[tuple[Path, ...]] = ()
    """Folders that `mm-sae evaluate` wrote, of one or more models: claims C1, C3 and C4."""
    self_supervised: Path | None = None
    """Such a folder of a model trained with self-supervision within the modalities, to compare the
    first one with: claim C2."""
    records: tuple[Path, ...] = ()
    """Folders or files that `mm-sae robustness`, `mm-sae steering-eval` and `mm-sae bias --sae`
    wrote: claims C5, C6 and C7."""
    out: Path = Path("runs/claims")
    """Folder for claims.json and claims.md."""

    def run(self) -> None:
        """Gather, print the table and write it."""
        from rich import print as rich_print

        from mm_sae_plugin.applications.claims.evaluated import (
            Evaluated,
            missing_claims,
            separation,
        )
        from mm_sae_plugin.applications.claims.gathered import gathered_claims
        from mm_sae_plugin.report.claims import claims_markdown, claims_table

        refuse_unwritable(self.out / _RECORD, self.out / _PAGE)
        # A folder may be named twice, as one of the models and as the self-supervised one.
        supervised = [] if self.self_supervised is None else [self.self_supervised.resolve()]
        folders = dict.fromkeys([*(one.resolve() for one in self.evaluations), *supervised])
        read = {folder: Evaluated.read(folder) for folder in folders}
        found = [finding for one in read.values() for finding in one.findings]
        for folder in supervised:
            plain = [one for other, one in read.items() if other != folder]
            if not plain:
                raise UserError(
                    f"There is no evaluation of a plain model to compare {self.self_supervised} "
                    "with: give its folder, too."
                )
            found += separation(plain[0], read[folder])
        found += missing_claims(found)
        findings = sorted([*found, *gathered_claims(self.records)], key=lambda one: one.claim)
        rows = [finding.record() for finding in findings]
        rich_print(claims_table(rows))
        write_json_atomically(self.out / _RECORD, {"format": 1, "claims": rows})
        with atomic_path(self.out / _PAGE) as temporary:
            temporary.write_text(claims_markdown(rows), encoding="utf-8")
        print(f"The claims are in {self.out / _RECORD}, as a table to hand on in {_PAGE}.")
