"""`run_evaluation`: every part, gathered in one record and one table of latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.evaluation.config import LATENTS, PARTS, RECORD, EvaluateConfig
from mm_sae_plugin.applications.evaluation.rivals import check_rivals
from mm_sae_plugin.applications.evaluation.work import KEPT, PartWork
from mm_sae_plugin.applications.workers import run_all
from mm_sae_plugin.files import atomic_path, refuse_unwritable, write_json_atomically
from mm_sae_plugin.stats.stability_note import labels_id
from mm_sae_plugin.study import Study
from mm_sae_plugin.termination import termination_interrupts
from mm_sae_plugin.versions import versions

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation."""

    record: dict[str, Any]
    """What `evaluation.json` holds."""
    latents: pd.DataFrame
    """What `latents.parquet` holds: a row for each latent."""


def run_evaluation(
    study: Study, cfg: EvaluateConfig, tell: Callable[[str], None] | None = None
) -> Evaluation:
    """Measure every part that is asked for, and write what was found.

    Finished parts are kept, so that the same call goes on after an interruption; those that are
    not asked for again stay in the results.

    Parameters
    ----------
    study : Study
        A labelled SAE with its store, as `cfg` names it.
    cfg : EvaluateConfig
        What to measure, and where to write.
    tell : callable, optional
        Is given a line whenever a part is done.

    Raises
    ------
    UserError
        If the SAE has no labels, the store is gone, a rival or judge cannot be had, or the folder
        cannot be written: before the first part. A part that cannot be measured says why in the
        record.
    KeyboardInterrupt
        On Ctrl-C, with a line that says how to go on; ``errors.Terminated`` on SIGTERM.
    """
    tell = tell or (lambda _line: None)
    refuse_unwritable(cfg.out / RECORD, cfg.out / LATENTS, cfg.out / KEPT / RECORD)
    labels, manifest = study.labels, study.store.manifest
    if "monosemanticity" in cfg.parts:
        check_rivals(study, cfg)
    work = PartWork(cfg, study.sae_id, manifest.key, labels_id(labels.classes))
    done = [name for name in cfg.parts if work.finished(name) is not None]
    if done:
        tell(f"Finished already: {', '.join(done)}.")

    def say(name: str) -> None:
        kept = work.kept(name)
        why = "" if kept["not_measured"] is None else f" (not measured: {kept['not_measured']})"
        tell(f"{name}: {kept['seconds']:.0f} s{why}")

    try:
        with termination_interrupts():
            missing = [name for name in cfg.parts if name not in done]
            run_all(work, missing, cfg.n_workers, say)
    except KeyboardInterrupt as interruption:
        told = "Interrupted; finished parts are kept: run the same command again to go on."
        raise type(interruption)(told) from None
    # What an earlier run measured stays, also where this one was asked for other parts.
    names = [name for name in PARTS if name in cfg.parts or work.stands(name)]
    kept = {name: work.kept(name) for name in names}
    record = {
        "format": FORMAT,
        "model": {"name": manifest.model_name, "weights_id": manifest.weights_id},
        "sae": {
            "sae_id": study.sae_id,
            "architecture": study.sae.cfg.architecture(),
            "d_sae": labels.n_features,
            "hooks": {name: hook for name, hook in study.hook_names.items()},
        },
        "store": {
            "key": manifest.key,
            "source": manifest.source,
            "n_pairs": labels.statistics.n_pairs,
            "n_images": labels.statistics.n_images,
        },
        "labels": {
            "score": labels.cfg.score,
            "rule": labels.cfg.rule,
            "class_counts": labels.class_counts,
            "class_counts_paper_score": labels.by_paper_score.class_counts,
        },
        "full": cfg.full,
        "seed": cfg.seed,
        "parts": {name: part["record"] for name, part in kept.items() if part["record"]},
        "not_measured": {
            name: part["not_measured"] for name, part in kept.items() if part["not_measured"]
        },
        "claims": sorted(
            (claim for part in kept.values() for claim in part["claims"]),
            key=lambda claim: claim["claim"],
        ),
        "seconds": {name: part["seconds"] for name, part in kept.items()},
        "versions": versions(),
    }
    latents = _latents(study, work, names)
    with atomic_path(cfg.out / LATENTS) as temporary:
        latents.to_parquet(temporary, index=False)
    write_json_atomically(cfg.out / RECORD, record)
    return Evaluation(record, latents)


def _latents(study: Study, work: PartWork, names: Sequence[str]) -> pd.DataFrame:
    """The labels' own table, and beside it what each part says of every latent."""
    import pandas as pd

    table = study.labels.table()
    for name in names:
        told = work.columns(name)
        # The labels' own columns stay as `mm-sae mds` wrote them.
        new = [column for column in told.columns if column not in table.columns]
        table = pd.concat([table, told[new]], axis=1)
    return table
