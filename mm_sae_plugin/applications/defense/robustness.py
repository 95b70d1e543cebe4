"""`run_robustness`: all contenders on all tasks, judged, into `robustness.json`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from mm_sae_plugin.applications.defense.arms import FARE, READINGS
from mm_sae_plugin.applications.defense.contenders import Contender
from mm_sae_plugin.applications.defense.detecting import LEAST_IMAGES, judge_detectors
from mm_sae_plugin.applications.defense.evaluation import Attack
from mm_sae_plugin.applications.defense.kept_results import KEPT, KeptResults
from mm_sae_plugin.applications.defense.measuring import (
    More,
    Posed,
    TaskResult,
    budget_of,
    measure,
    retrieval_of,
)
from mm_sae_plugin.applications.defense.robustness_config import RobustnessConfig, check_enough
from mm_sae_plugin.applications.defense.self_tests import SelfTest, self_tests
from mm_sae_plugin.applications.defense.tasks import Captioned, Task
from mm_sae_plugin.applications.defense.training_free import RECONSTRUCTION
from mm_sae_plugin.applications.defense.vector_attacks import latent_attack
from mm_sae_plugin.applications.defense.verdicts import beats_fare, claim_c5, paired_tests
from mm_sae_plugin.applications.defense.victim import Victim
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import refuse_unwritable, write_json_atomically
from mm_sae_plugin.study import Study
from mm_sae_plugin.versions import versions

RESULT = "robustness.json"
_ON_ALL_TASKS = (FARE, READINGS)
"""Fine-tuned arms that every task is attacked of; the others are on the first and the last."""


@dataclass(frozen=True)
class Job:
    """One contender on one task."""

    contender: Contender
    posed: Posed
    is_strong: bool
    """Whether all attacks are run, or PGD alone."""
    retrieval: bool
    """Whether its retrieval is measured with it."""


def run_robustness(
    found: Sequence[Contender],
    tasks: Sequence[Task],
    cfg: RobustnessConfig,
    out: Path,
    captioned: Captioned | None = None,
    told: Mapping[str, Any] | None = None,
    study: Study | None = None,
    held_out: Sequence[Task] = (),
    n_workers: int = 2,
    progress: bool = True,
) -> dict[str, Any]:
    """Attack, judge, and write what was found.

    Results are kept one by one: run again, with more towers or after it broke off, it attacks what
    is missing only.

    Parameters
    ----------
    found : sequence of Contender
        The undefended encoder first.
    tasks : sequence of Task
        The first one is judged on; it and the last are attacked for all contenders.
    cfg : RobustnessConfig
    out : Path
        Folder of ``robustness.json``.
    captioned : Captioned, optional
        Pictures with captions, for retrieval.
    told : mapping, optional
        What else belongs into the record: where SAE and towers come from.
    study : Study, optional
        A labelled SAE of the joint space: its latents are attacked, too, and detectors are judged
        where the first task has images enough.
    held_out : sequence of Task
        Tasks that no tower was aligned on, for the contenders that are attacked on all.
    n_workers : int
        Contenders that are attacked at a time, each in one thread.
    progress : bool
        Show a progress bar.

    Returns
    -------
    dict
        ``arms`` (a row for every contender, seed and task), ``self_tests``, ``claim_c5``,
        ``beats_fare``, ``beats_fare_held_out``, ``paired_tests``, ``detection``, ``settings``.

    Raises
    ------
    UserError
        If the folder cannot be written, or a task has too few pictures: before the first attack.
    """
    refuse_unwritable(out / RESULT, out / KEPT)
    for task in (*tasks, *held_out):
        n = len(task.pictures)
        check_enough(f"The task {task.name!r:.60} has {n} picture{'s' if n > 1 else ''}", n)
    kept = KeptResults(out / KEPT, cfg, None if study is None else study.sae_id)
    started = time.time()
    model = found[0].model
    posed = [Posed.of(task, model, cfg) for task in tasks]
    unseen = [Posed.of(task, model, cfg) for task in held_out]
    jobs = _jobs(found, posed, unseen, captioned is not None)
    more = None if study is None else _on_latents(study, cfg)
    rows = _run(jobs, cfg, captioned, more, kept, n_workers, progress)
    tested = _most_robust(rows, found, posed[0].name)
    checks = self_tests_of(tested, posed[0], cfg)
    detection = None
    if study is not None and len(posed[0].labels) >= LEAST_IMAGES:
        detection = judge_detectors(model, study.feature_map, posed[0], cfg)
    record = {
        "arms": [asdict(row) for row in rows],
        "tested": {"name": tested.name, "seed": tested.seed},
        "self_tests": {name: asdict(test) for name, test in checks.items()},
        "claim_c5": asdict(claim_c5(rows, posed[0].name)),
        "claim_c5_paper_labels": asdict(claim_c5(rows, posed[0].name, paper_labels=True)),
        "beats_fare": asdict(beats_fare(rows, [each.name for each in posed])),
        "beats_fare_held_out": asdict(beats_fare(rows, [each.name for each in unseen])),
        "detection": detection,
        "paired_tests": paired_tests(rows),
        "settings": asdict(cfg),
        "held_out": [each.name for each in unseen],
        "model": model.cfg.model_name,
        "weights_id": model.weights_id,
        "versions": versions(),
        "seconds": round(time.time() - started, 1),
        **(told or {}),
    }
    write_json_atomically(out / RESULT, record)
    return record


def self_tests_of(contender: Contender, posed: Posed, cfg: RobustnessConfig) -> dict[str, SelfTest]:
    """Test whether the attacks on one contender can be believed."""
    n = min(cfg.n_strong, len(posed.labels), _SELF_TESTED)
    victim = contender.victim(posed.classes)
    return self_tests(victim, posed.images[:n], posed.labels[:n], budget_of(cfg), seed=cfg.seed)


_SELF_TESTED = 64


def check_self_tests(record: Mapping[str, Any]) -> None:
    """Raise ``UserError`` where a self-test failed: the figures must not be believed."""
    failed = [name for name, test in record["self_tests"].items() if not test["passed"]]
    if failed:
        told = " ".join(record["self_tests"][name]["told"] for name in failed)
        raise UserError(
            f"The evaluation of {record['tested']['name']} cannot be believed, its self-test "
            f"{', '.join(failed)} failed: {told}"
        )


def _on_latents(study: Study, cfg: RobustnessConfig) -> More:
    def attacks(victim: Victim) -> dict[str, Attack]:
        alive = study.labels.alive
        return {"latents": latent_attack(victim, study.feature_map, alive, cfg.n_pgd, cfg.seed)}

    return attacks


def _jobs(
    found: Sequence[Contender], posed: Sequence[Posed], unseen: Sequence[Posed], retrieval: bool
) -> list[Job]:
    """Every contender on the first and the last task, and some of them on all."""
    first_seed: dict[str, int] = {}
    for contender in found:
        seed = first_seed.get(contender.name, contender.seed)
        first_seed[contender.name] = min(seed, contender.seed)
    jobs = []
    for contender in found:
        is_first = contender.seed == first_seed[contender.name]
        # What trains nothing falls to PGD already; one of them shows what a static attack hides.
        is_worth_it = contender.kind != "training-free" or contender.name == RECONSTRUCTION
        everywhere = contender.kind in ("undefended", "shipped") or contender.name in _ON_ALL_TASKS
        for task in (*posed, *unseen) if everywhere else dict.fromkeys((posed[0], posed[-1])):
            on_first = task is posed[0]
            jobs.append(
                Job(contender, task, on_first and is_first and is_worth_it, on_first and retrieval)
            )
    return jobs


def _run(
    jobs: Sequence[Job],
    cfg: RobustnessConfig,
    captioned: Captioned | None,
    more: More | None,
    kept: KeptResults,
    n_workers: int,
    progress: bool,
) -> list[TaskResult]:
    pixels = captions = None
    if captioned is not None:
        bare = jobs[0].contender
        pixels = bare.victim(jobs[0].posed.classes).pixels(captioned.pictures)
        with torch.no_grad():
            captions = bare.model.encode_text(list(captioned.captions), normalize=True)

    def one(job: Job) -> TaskResult:
        known = kept.find(job.contender, job.posed, job.is_strong)
        if known is not None:
            return known
        retrieval = None
        if job.retrieval and pixels is not None and captions is not None:
            retrieval = retrieval_of(job.contender, pixels, captions)
        found = measure(job.contender, job.posed, cfg, job.is_strong, retrieval, more)
        kept.keep(job.contender, job.posed, job.is_strong, found)
        return found

    # Contenders share no model, and jobs of one of them follow each other: hooks are state.
    grouped: dict[int, list[Job]] = {}
    for job in jobs:
        grouped.setdefault(id(job.contender), []).append(job)
    bar = tqdm(total=len(jobs), desc="attack", unit="arm", disable=not progress)

    def all_of(group: Sequence[Job]) -> list[TaskResult]:
        rows = []
        for job in group:
            rows.append(one(job))
            bar.update()
        return rows

    with bar, ThreadPoolExecutor(n_workers) as pool:
        return [row for rows in pool.map(all_of, grouped.values()) for row in rows]


def _most_robust(rows: Sequence[TaskResult], found: Sequence[Contender], task: str) -> Contender:
    """Return the contender that does best: what looks too good is what must be doubted."""
    best = max((row for row in rows if row.task == task), key=lambda row: row.adaptive)
    return next(c for c in found if (c.name, c.seed) == (best.name, best.seed))
