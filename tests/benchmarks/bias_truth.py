"""Does the audit find the association that was planted, and nothing where none was?

``python -m tests.benchmarks.bias_truth --out runs/bias-truth`` trains what is missing of the
variants of known strength (``train_biased``), and measures on each the gap between counterfactual
twins in every occupation, with the planted direction stated beforehand. Into ``bias_truth.json``:

- ``variants``: strength, seed, signed gap in nats, occupations that follow (``signs``), p.
- ``pooled``: the same of the gaps' mean over seeds, strength by strength.
- ``false_alarms``: how often flips of other factors (age, colour, skin, place), of which nothing
  was planted, pass the same test at .05 in the variants of strength 0; with a Wilson interval.
- ``attribution``: in the shipped variant, the latents by how much of the signed gap goes with each,
  those that follow gender in truth, what is left without each class, and the verdict on C7.
- ``checks``: what is expected of all this, and whether it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.applications.bias.attributed import attribute
from mm_sae_plugin.applications.bias.bench import Bench
from mm_sae_plugin.applications.bias.contrast import Gaps
from mm_sae_plugin.applications.bias.direction import DirectionTest, direction_test
from mm_sae_plugin.applications.bias.permutation import proportion_interval
from mm_sae_plugin.applications.bias.prompts import factorworld_prompts
from mm_sae_plugin.applications.bias.twin_audit import gaps_between, prompt_rows
from mm_sae_plugin.applications.bias.twins import (
    GENDER,
    NUISANCES,
    draw_twins,
    twin_contrast,
)
from mm_sae_plugin.commands.quickstart import QuickstartConfig, run_quickstart
from mm_sae_plugin.factorworld.architecture import build_model, build_preprocess, build_tokenizer
from mm_sae_plugin.factorworld.recipes.train_biased import (
    SEEDS,
    STRENGTHS,
    TrainBiasedConfig,
    train_biased,
)
from mm_sae_plugin.files import write_json_atomically
from mm_sae_plugin.modality import MODALITIES
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.study import Study

SHIPPED = "factorworld-biased"
"""The variant that is shipped, whose latents the gap is attributed to."""
LEVEL = 0.05
"""Of the tests that may raise a false alarm."""
FOLLOWS = 0.2
"""Share of a code's variance over people that gender explains in a latent that follows it."""


@dataclass(frozen=True)
class BiasTruthConfig:
    """Check the audit against variants of the embedded model with a known association."""

    out: Path = Path("runs/bias-truth")
    """Folder for `bias_truth.json` and the SAE of the shipped variant."""
    variants: Path = Path("runs/biased")
    """Folder of the variants; what is missing is trained."""
    n_per_target: int = 25
    """Pairs of twins for each occupation."""


def main(cfg: BiasTruthConfig) -> dict[str, Any]:
    """Measure everything, write it, and print it."""
    checkpoints = train_biased(TrainBiasedConfig(cfg.variants, cfg.variants / "cache"))
    torch.set_num_threads(1)
    pictures = {flip: draw_twins(flip, cfg.n_per_target) for flip in (GENDER, *NUISANCES)}
    contrast = twin_contrast(pictures[GENDER], 1.0)
    variants, alarms = [], []
    gaps_of: dict[float, list[Gaps]] = {strength: [] for strength in STRENGTHS}
    for strength in STRENGTHS:
        for seed in SEEDS:
            model = variant(checkpoints[strength, seed])
            rows = prompt_rows(model, factorworld_prompts(), contrast)
            gaps = gaps_between(model, pictures[GENDER], rows)
            gaps_of[strength].append(gaps)
            row = {"strength": strength, "seed": seed, **told(tested(gaps)), "gaps": gaps}
            print({name: value for name, value in row.items() if name != "gaps"}, flush=True)
            variants.append(row)
            if strength == 0:
                found = [tested(gaps_between(model, pictures[flip], rows)).p for flip in NUISANCES]
                alarms += [p <= LEVEL for p in found]
    means = {
        strength: {target: float(np.mean([g[target] for g in gaps])) for target in gaps[0]}
        for strength, gaps in gaps_of.items()
    }
    record: dict[str, Any] = {
        "variants": variants,
        "pooled": [{"strength": s, **told(tested(gaps))} for s, gaps in means.items()],
        "false_alarms": false_alarms(alarms),
        "attribution": attribution(cfg),
        "settings": {"n_per_target": cfg.n_per_target, "nuisances": [list(f) for f in NUISANCES]},
    }
    record["checks"] = checks(record)
    write_json_atomically(cfg.out / "bias_truth.json", record)
    for name in ("pooled", "false_alarms", "attribution", "checks"):
        print(name, record[name])
    return record


def variant(checkpoint: Path) -> HookedCLIP:
    """Load a variant from its training's checkpoint."""
    learned = torch.load(checkpoint, weights_only=True)["learner"]
    model = build_model()
    weights = {k.removeprefix("model."): v for k, v in learned.items() if k.startswith("model.")}
    model.load_state_dict(weights)
    return HookedCLIP.wrap(model.eval(), build_tokenizer(), build_preprocess(), "variant")


def tested(gaps: Gaps) -> DirectionTest:
    """Test gaps against the direction that was planted."""
    return direction_test(gaps, factorworld_prompts().signs("woman"))


def told(test: DirectionTest) -> dict[str, Any]:
    """The figures of a test under the names of the record."""
    return {"signed": test.signed, "signs": test.n_following, "p": test.p}


def false_alarms(alarms: list[bool]) -> dict[str, Any]:
    """Count them, with a Wilson interval of their rate."""
    found = proportion_interval(sum(alarms), len(alarms))
    interval = [found.low, found.high]
    return {"n": len(alarms), "alarms": sum(alarms), "level": LEVEL, "interval": interval}


def attribution(cfg: BiasTruthConfig) -> dict[str, Any]:
    """Rank the latents of the shipped variant's SAE by how much of the signed gap is theirs."""
    run_quickstart(QuickstartConfig(out=cfg.out / "sae", model=SHIPPED), progress=False)
    study = Study.open(cfg.out / "sae" / "sae")
    bench = Bench.of_twins(study, cfg.n_per_target)
    taken = bench.attribution_of(bench.choosing).by_latent()
    followed = gender_followed(study)
    found = attribute(bench)
    return {
        "signed": found.whole,
        "followers": (followed >= FOLLOWS).nonzero()[:, 0].tolist(),
        "first": [
            {"latent": k, "taken": float(taken[k]), "eta2": float(followed[k])}
            for k in taken.argsort(descending=True)[:10].tolist()
        ],
        "classes": [
            {name: getattr(row.removed, name) for name in ("name", "side", "n_latents", "value")}
            for row in found.classes
        ],
        "asymmetry": {"verdict": found.asymmetry.verdict, "reason": found.asymmetry.reason},
    }


def gender_followed(study: Study) -> Float[Tensor, "d_sae"]:
    """Share of each code's variance over people that their gender explains, on its better side."""
    store = study.store
    said = store.labels["said.gender"]
    people = torch.tensor([bool(gender) for gender in said])
    is_woman = torch.tensor([gender == "woman" for gender in said])[people].double()
    best = torch.zeros(study.feature_map.n_features, dtype=torch.float64)
    rows = {"image": store.image_rows()[store.image_index], "text": store.text_rows()}
    for modality in MODALITIES:
        with torch.no_grad():
            codes = study.feature_map.encode(rows[modality][people], modality).double()
        within = (codes - codes.mean(0), (is_woman - is_woman.mean())[:, None])
        variance = within[0].square().mean(0) * within[1].square().mean()
        explained = (within[0] * within[1]).mean(0).square() / variance.clamp_min(1e-12)
        best = torch.maximum(best, explained)
    return best


def checks(record: dict[str, Any]) -> dict[str, bool]:
    """What is expected, and whether it holds."""
    strong = [row for row in record["variants"] if row["strength"] == max(STRENGTHS)]
    none = record["pooled"][0]
    rising = [row["signed"] for row in record["pooled"]]
    low, high = record["false_alarms"]["interval"]
    return {
        "strong: signed at least 0.8": all(row["signed"] >= 0.8 for row in strong),
        "strong: at least 7 of 8 follow": all(row["signs"] >= 7 for row in strong),
        "strong: p at most 0.03": all(row["p"] <= 0.03 for row in strong),
        "none: mean within 0.4": abs(none["signed"]) <= 0.4,
        "none: pooled p above 0.05": none["p"] > 0.05,
        "means rise with strength": rising == sorted(rising),
        "false alarms at the level": low <= LEVEL <= high,
        "latents that follow gender are first": leads(record["attribution"]),
    }


def leads(found: dict[str, Any]) -> bool:
    """Whether the latents that follow gender take more of the gap than any other."""
    followers = found["followers"]
    first = [row["latent"] for row in found["first"][: len(followers)]]
    return bool(followers) and sorted(first) == sorted(followers)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(BiasTruthConfig))
