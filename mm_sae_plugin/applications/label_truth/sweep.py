"""A whole sweep: activations, cells, and one file with all rows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_sae_plugin.applications.label_truth.cell import CellWork, Record
from mm_sae_plugin.applications.label_truth.config import SweepConfig
from mm_sae_plugin.applications.label_truth.grid import Cell, grid
from mm_sae_plugin.applications.workers import run_all
from mm_sae_plugin.files import refuse_unwritable, write_json_atomically
from mm_sae_plugin.termination import termination_interrupts

_WORLD_SEED = 0


@dataclass(frozen=True)
class Sweep:
    """A finished sweep."""

    path: Path
    """The JSON file with all rows."""
    records: dict[Cell, Record]
    """What was measured of each cell, in the order of size, k, architecture, model and seed."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each cell and score."""
        return [row for record in self.records.values() for row in record["rows"]]


def run_sweep(cfg: SweepConfig, tell: Callable[[str], None] | None = None) -> Sweep:
    """Train and check every dictionary of a sweep, and write `truth.json`.

    Finished cells are kept, each in a file in `cells`, so that the same call goes on after an
    interruption; one whose settings differ is measured anew.

    Parameters
    ----------
    cfg : SweepConfig
        What to train, and where to write.
    tell : callable, optional
        Is given a line whenever something is done.

    Raises
    ------
    UserError
        If the folder cannot be written or the disk is full.
    KeyboardInterrupt
        On Ctrl-C, with a line that says how to go on; ``errors.Terminated`` on SIGTERM.
    """
    tell = tell or (lambda _line: None)
    cells, records = grid(cfg), dict[Cell, Record]()
    path = cfg.out / "truth.json"
    refuse_unwritable(path)
    try:
        with termination_interrupts():
            work = _work(cfg, cells, tell)
            for cell in cells if cfg.resume else []:
                if (record := work.finished(cell)) is not None:
                    records[cell] = record
            if records:
                tell(f"{len(records)} of {len(cells)} dictionaries are finished already.")

            def keep(cell: Cell) -> None:
                record = work.finished(cell)
                assert record is not None, "it has just been written"
                records[cell] = record
                seconds = sum(record["seconds"].values())
                tell(f"{cell.name}: {seconds:.0f} s ({len(records)} of {len(cells)})")

            missing = [cell for cell in cells if cell not in records]
            run_all(work, missing, cfg.n_workers, keep)
    except KeyboardInterrupt as interruption:
        told = f"Interrupted; {len(records)} of {len(cells)} dictionaries are finished and kept"
        raise type(interruption)(f"{told}: run the same command again to go on.") from None
    order = sorted(cells, key=lambda c: (c.d_sae, c.k, c.architecture, c.model, c.seed))
    sweep = Sweep(path, {cell: records[cell] for cell in order})
    write_json_atomically(sweep.path, {"pairs": cfg.pairs, "rows": sweep.rows})
    return sweep


def _work(cfg: SweepConfig, cells: list[Cell], tell: Callable[[str], None]) -> CellWork:
    """Draw the pairs and take the activations of every model, or find them in the folder."""
    from mm_sae_plugin.activations import extract
    from mm_sae_plugin.models import load_model
    from mm_sae_plugin.pairs import load_pairs

    pairs = load_pairs(f"factorworld:{cfg.pairs}:{_WORLD_SEED}")
    stores, keys = {}, {}
    for model in dict.fromkeys(cell.model for cell in cells):
        stores[model] = cfg.out / "acts" / f"{model}-{cfg.pairs}"
        store = extract(load_model(model), pairs, stores[model])
        keys[model] = store.manifest.key
        tell(f"{model}: activations of {store.manifest.n_pairs:,} pairs are in {stores[model]}.")
    return CellWork(cfg.out / "cells", stores, keys, cfg.training_steps)
