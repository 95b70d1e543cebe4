"""`run_evaluation`: the whole measurement with the embedded generator, into `steering.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mm_sae_plugin.applications.steering.arms import baseline_arms, latent_arms
from mm_sae_plugin.applications.steering.claim import claim_c6, slope, slopes
from mm_sae_plugin.applications.steering.config import SteeringConfig
from mm_sae_plugin.applications.steering.differences import difference_arms
from mm_sae_plugin.applications.steering.evaluation import (
    PROMPT_EDIT,
    UNMOVED,
    Reading,
    cases,
    evaluate,
)
from mm_sae_plugin.applications.steering.identity import pipeline_identity
from mm_sae_plugin.applications.steering.kandinsky import KandinskyDrawing
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import refuse_unwritable, write_json_atomically
from mm_sae_plugin.interventions.pipelines.encoder import check_pipeline_encoder
from mm_sae_plugin.interventions.pipelines.sites import find_site
from mm_sae_plugin.study import Study

RESULT = "steering.json"


@dataclass(frozen=True)
class SteeringResult:
    """What was found."""

    readings: list[Reading]
    """Every arm at every strength."""
    record: dict[str, Any]
    """What `steering.json` holds."""


def run_evaluation(
    study: Study, cfg: SteeringConfig, generator: Path | None = None, progress: bool = True
) -> SteeringResult:
    """Measure what each way of moving a prompt does, and judge the paper's claim.

    Parameters
    ----------
    study : Study
        Labelled; of the generator's encoder, at the joint space.
    cfg : SteeringConfig
    generator : Path, optional
        Folder of a generator; by default the package's.
    progress : bool
        Show progress bars.

    Raises
    ------
    UserError
        If the SAE is of another encoder than the generator, one of its parts is missing, or the
        folder cannot be written: all of it is found before the first picture.
    """
    from mm_sae_plugin.factorworld.classifier import load_classifier
    from mm_sae_plugin.factorworld.generator import DEFAULTS, GENERATOR_FOLDER, load_generator
    from mm_sae_plugin.factorworld.recipes.evaluate_generator import (
        draw,
        faithfulness,
        held_out_scenes,
    )

    refuse_unwritable(cfg.out / RESULT)
    check_encoder_of_generator(study)
    device = torch.device(study.device)
    pipeline = load_generator(generator or GENERATOR_FOLDER).to(device)
    # A folder may hold another encoder than the one of that name.
    check_pipeline_encoder(study, find_site(pipeline), pipeline, None, device)
    classifier = load_classifier()
    chosen = cases(cfg.n_cases)
    arms = [
        *latent_arms(study, cfg.seed),
        *baseline_arms(study),
        *difference_arms(study, chosen),
    ]
    from PIL import Image

    with torch.no_grad():
        pictures = [Image.fromarray(case.picture) for case in chosen]
        references = study.model(images=pictures)[0].float().cpu()
    drawing = KandinskyDrawing(pipeline, DEFAULTS)
    readings = evaluate(
        drawing, classifier, references, chosen, arms, cfg.strengths, cfg.n_seeds, progress
    )
    scenes = held_out_scenes(cfg.n_faithful)
    asked = draw(pipeline, [scene.caption for scene in scenes], seed=0)
    record = {
        "faithful": faithfulness(classifier.answers(asked), scenes),
        "arms": [reading.means() for reading in readings],
        "slopes": _slopes(readings),
        "claim_c6": _claim(readings, ""),
        "claim_c6_paper_labels": _claim(readings, " (paper)"),
        "settings": {**asdict(cfg), "out": cfg.out.name},
        "generator": pipeline_identity(pipeline),
        "store_key": study.store.manifest.key,
        "sae_id": study.sae_id,
        "weights_id": study.weights_id,
        "model": study.sae.cfg.metadata.model_name,
    }
    write_json_atomically(cfg.out / RESULT, record)
    return SteeringResult(readings, record)


def _slopes(readings: list[Reading]) -> list[dict[str, Any]]:
    """How much each arm gains of control and of detail for each unit of |Δe| / |e|."""
    names = dict.fromkeys(reading.name for reading in readings)
    return [
        {
            "name": name,
            "control": asdict(slope(slopes(readings, name, "control"))),
            "kept": asdict(slope(slopes(readings, name, "kept"))),
        }
        for name in names
        if name not in (UNMOVED, PROMPT_EDIT)
    ]


def _claim(readings: list[Reading], labels: str) -> dict[str, Any]:
    try:
        return asdict(claim_c6(readings, labels))
    except UserError as error:
        # A class without latents has no arm.
        return {"verdict": "undecided", "reason": str(error)}


def check_encoder_of_generator(study: Study) -> None:
    """Refuse an SAE whose joint space the embedded generator does not draw from."""
    from mm_sae_plugin.factorworld.generator.folder import CLIP_NAME

    name = study.sae.cfg.metadata.model_name
    if name != CLIP_NAME:
        raise UserError(
            f"The embedded generator draws from the joint space of {CLIP_NAME!r}, and this SAE is "
            f"of {name!r}: give an SAE of {CLIP_NAME!r}."
        )
