"""From a training checkpoint to the files inside the package.

``python -m mm_sae_plugin.factorworld.recipes.ship_clip --checkpoint RUN/checkpoint.pt --name NAME``
writes fp16 weights, their checksum and measured figures (JSON), and the model card (Markdown).
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mm_sae_plugin.factorworld.architecture import build_model, model_config
from mm_sae_plugin.factorworld.embedded import EMBEDDED_MODELS, WEIGHTS_FOLDER, read_card
from mm_sae_plugin.factorworld.factors import FACTORS
from mm_sae_plugin.factorworld.recipes.evaluate_clip import evaluate_clip
from mm_sae_plugin.files import (
    atomic_path,
    refuse_unwritable,
    sha256_of_file,
    write_json_atomically,
)


@dataclass(frozen=True)
class ShipCLIPConfig:
    """Which checkpoint becomes which embedded model."""

    checkpoint: Path
    """The checkpoint that ``train_clip`` wrote."""
    name: str
    """One of the embedded models' names."""
    log: Path | None = None
    """What ``train_clip`` printed; its last losses go into the card."""
    n_pairs: int = 4_000
    """Held-out pairs on which the figures are measured."""


def ship_clip(cfg: ShipCLIPConfig) -> None:
    """Write the weights, the JSON card and the Markdown model card of one embedded model."""
    assert cfg.name in EMBEDDED_MODELS
    refuse_unwritable(WEIGHTS_FOLDER / f"{cfg.name}.json")
    state = torch.load(cfg.checkpoint, weights_only=True)
    learned = state["learner"].items()
    # The heads that named factors in training stay behind.
    half = {k.removeprefix("model."): v.half() for k, v in learned if k.startswith("model.")}
    told = {"stages": state["stages"], "final_losses": _final_losses(cfg.log)}
    ship_weights(cfg.name, half, told, cfg.n_pairs)


def ship_weights(
    name: str, half: dict[str, torch.Tensor], told: dict[str, Any], n_pairs: int
) -> None:
    """Write fp16 weights, their JSON card, and the Markdown card of all models."""
    from safetensors.torch import save_file

    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    with atomic_path(path) as temporary:
        save_file(half, temporary)
    # The figures are those of the shipped, rounded weights.
    model = build_model()
    model.load_state_dict({key: value.float() for key, value in half.items()})
    card = {
        "name": name,
        "sha256": sha256_of_file(path),
        "n_parameters": sum(value.numel() for value in half.values()),
        "model_cfg": model_config(),
        **told,
        "figures": evaluate_clip(model.eval(), n_pairs),
    }
    write_json_atomically(WEIGHTS_FOLDER / f"{name}.json", card)
    _write_model_card()


def _final_losses(log: Path | None) -> dict[str, float]:
    lines = re.findall(r"losses ([\d. ]+) scale", log.read_text()) if log else []
    if not lines:
        return {}
    names = ("image_text", "image_image", "text_text")
    return dict(zip(names, (float(value) for value in lines[-1].split()), strict=False))


def _write_model_card() -> None:
    cards = [read_card(n) for n in EMBEDDED_MODELS if (WEIGHTS_FOLDER / f"{n}.json").exists()]
    lines = [
        "# The embedded models",
        "",
        "Small CLIPs trained on FactorWorld, so that everything runs without a network. They know",
        "that world and nothing else: use them to learn the tools and to check them against a",
        "known truth, never to judge photographs or people. `factorworld` is trained",
        "contrastively, after a head start in naming what is drawn and said;",
        "`factorworld-declip` continues from it with within-modality self-supervision, and",
        "`factorworld-biased` on a world in which nurses, artists, doctors and farmers are women,",
        "and the others men, in 95 of 100 pictures, half of which do not show the occupation. That",
        "association is invented, so that an audit has something to find, and says nothing of real",
        "people or models. `factorworld-robust` is `factorworld` with an image tower fine-tuned",
        "so that adversarial images are read as clean ones are: within 4/255 it names most objects",
        "under attack, of which `factorworld` names one in ten. All are open_clip's",
        "`CustomTextCLIP` with a convolutional stem in place of the linear patch embedding. A",
        "probe still reads `tilt` and `skin`, which no caption",
        "mentions: the head start taught the tower to see them, and contrast has no quick way",
        "to forget. `pattern` and `reader`, shared by one pair in twenty, are seen but hardly",
        "aligned.",
        "",
        "Written by `python -m mm_sae_plugin.factorworld.recipes.ship_clip` from the JSON file",
        "beside each model; every figure is measured on held-out pairs with the shipped fp16",
        "weights. The recipe, with the commands that were run, is",
        "`python -m mm_sae_plugin.factorworld.recipes.train_clip`; that of `factorworld-biased`",
        "is `python -m mm_sae_plugin.factorworld.recipes.train_biased`, and that of",
        "`factorworld-robust` is `python -m mm_sae_plugin.applications.defense.ship_robust`.",
        "",
        "| | " + " | ".join(card["name"] for card in cards) + " |",
        "|---|" + "---|" * len(cards),
    ]
    rows: dict[str, Any] = {
        "parameters": lambda card: f"{card['n_parameters']:,}",
        "SHA-256": lambda card: f"`{card['sha256'][:16]}…`",
        **{
            name.replace("_", " "): partial(_over_stages, name)
            for name in ("steps", "batch_size", "lr", "label_steps", "self_supervision", "n_pairs")
        },
        "seed of the training world": lambda card: card["stages"][0]["world_seed"],
        "final training losses": lambda card: ", ".join(
            f"{name.replace('_', '–')} {value:.3f}" for name, value in card["final_losses"].items()
        ),
        "held-out pairs (world seed)": lambda card: (
            f"{card['figures']['n_pairs']:,} ({card['figures']['world_seed']})"
        ),
        "retrieval at 1 of 256": lambda card: f"{card['figures']['retrieval_at_1_of_256']:.1%}",
        "modality gap (distance of means)": lambda card: f"{card['figures']['modality_gap']:.3f}",
    }
    lines += [f"| {n} | " + " | ".join(str(f(c)) for c in cards) + " |" for n, f in rows.items()]
    for card in cards:
        lines += _factor_table(card)
    (WEIGHTS_FOLDER / "MODEL_CARD.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _over_stages(name: str, card: dict[str, Any]) -> str:
    return ", then ".join(str(stage[name]) for stage in card["stages"])


def _factor_table(card: dict[str, Any]) -> list[str]:
    lines = [
        "",
        f"## What `{card['name']}` knows of each factor",
        "",
        "Accuracy on held-out pairs: zero-shot from captions where the image shows the factor,",
        "and of a ridge probe on the joint embedding of each side that carries it.",
        "",
        "| factor | drawn | said | chance | zero-shot | probe, image | probe, text |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in card["figures"]["factors"].items():
        keys = ("chance", "zero_shot", "probe_image", "probe_text")
        cells = (f"{figures[key]:.1%}" if key in figures else "–" for key in keys)
        factor = FACTORS[name]
        lines.append(f"| {name} | {factor.drawn} | {factor.said} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    import tyro

    ship_clip(tyro.cli(ShipCLIPConfig))
