"""The model card of an SAE: what it is, how to open it, and the figures that its folder holds."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mm_sae_plugin.files import parse_json
from mm_sae_plugin.modality import MODALITIES
from mm_sae_plugin.saes.folder_files import CFG_FILENAME, EVALUATION_FILENAME, TABLE_FILENAME

CARD_FILENAME = "README.md"
_TAGS = ["sparse-autoencoder", "mechanistic-interpretability", "multimodal", "mm-sae-plugin"]
_MEANINGS = {
    "ImgD": "image-dominant",
    "CrossD": "cross-modal",
    "TextD": "text-dominant",
    "Undetermined": "the interval allows more than one answer",
    "Dead": "active on too few images to be labelled",
}
# Models on the hub: transformers' by `hf:`, open_clip's by `hf-hub:`.
_ON_THE_HUB = re.compile(r"hf(?:-hub)?:([\w.-]+/[\w.-]+)")


def model_card(folder: Path, repo_id: str, sae_id: str) -> str:
    """Return the model card, Markdown behind YAML front matter.

    Every figure is read from the folder; what it does not hold is not spoken of.

    Parameters
    ----------
    folder : Path
        An SAE folder whose notes may be read by everyone.
    repo_id, sae_id : str
        Where it will lie: the repository, and the folder in it.
    """
    cfg = _read(folder / CFG_FILENAME)
    metadata = cfg.get("metadata") or {}
    pieces = [
        _front_matter(metadata),
        _what(cfg, metadata),
        _how(metadata, repo_id, sae_id),
        _reconstruction(_read(folder / EVALUATION_FILENAME)),
        _labels(metadata.get("modality"), (folder / TABLE_FILENAME).is_file()),
    ]
    return "\n".join(piece for piece in pieces if piece)


def _read(path: Path) -> dict[str, Any]:
    content = parse_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def _front_matter(metadata: Mapping[str, Any]) -> str:
    matter: dict[str, Any] = {"library_name": "saelens", "tags": _TAGS}
    on_the_hub = _ON_THE_HUB.fullmatch(str(metadata.get("model_name") or ""))
    if on_the_hub:
        matter["base_model"] = on_the_hub[1]
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---\n"


def _what(cfg: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    model = metadata.get("model_name") or "an unnamed model"
    hooks = [hook for hook in _hooks(metadata) if hook]
    rows = {
        "model": metadata.get("model_name"),
        "weights": metadata.get("weights_id"),
        "hooks": ", ".join(f"`{hook}`" for hook in hooks),
        "pairs": metadata.get("dataset_path"),
        "architecture": cfg.get("architecture"),
        "trained as": metadata.get("training_architecture"),
        "width of the activations": cfg.get("d_in"),
        "latents": cfg.get("d_sae"),
        "active latents a row (k)": cfg.get("k"),
        "normalisation before the SAE": metadata.get("normalization") or "none",
        "converted from": metadata.get("converted_from"),
        "its own name of the hook": metadata.get("source_hook_name"),
        "tokens it was trained on": metadata.get("trained_on_tokens"),
        "activation store": metadata.get("store_key"),
        "SAELens": metadata.get("sae_lens_version"),
    }
    table = [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value]
    return "\n".join([f"# Sparse autoencoder of {model}\n", "| | |", "|---|---|", *table, ""])


def _hooks(metadata: Mapping[str, Any]) -> list[str | None]:
    of_towers = [metadata.get(f"hook_name_{modality}") for modality in MODALITIES]
    return of_towers if any(of_towers) else [metadata.get("hook_name")]


def _how(metadata: Mapping[str, Any], repo_id: str, sae_id: str) -> str:
    lines = [
        "## Loading\n",
        "With [SAELens](https://github.com/decoderesearch/SAELens) alone:\n",
        "```python",
        "from sae_lens import SAE\n",
        f'sae = SAE.from_pretrained("{repo_id}", "{sae_id}")',
        "```\n",
        "With `mm_sae_plugin`, which reads the labels too:\n",
        "```python",
        "from mm_sae_plugin import Study",
        "from mm_sae_plugin.saes import download_sae\n",
        f'study = Study.open(download_sae("{repo_id}", "{sae_id}"))',
        "```\n",
    ]
    if (metadata.get("normalization") or "none") != "none":
        lines += [
            f"The SAE was trained behind the normalisation `{metadata['normalization']}`, which "
            "`normalization.safetensors` holds: SAELens alone does not apply it, and without it "
            "the codes mean nothing.\n",
        ]
    return "\n".join(lines)


def _reconstruction(evaluation: Mapping[str, Any]) -> str:
    explained = evaluation.get("explained_variance") or {}
    sides = [side for side in MODALITIES if side in explained]
    if not sides:
        return ""
    lines = [
        "## Reconstruction\n",
        "Measured after the training, on the activations that it was trained on.\n",
        "| modality | explained variance | active latents a row | latents that never fire | rows |",
        "|---|---|---|---|---|",
    ]
    for side in sides:
        figures = [
            _figure(explained[side], 3),
            _figure(_of(evaluation, "l0", side), 1),
            _figure(_of(evaluation, "n_never_firing_by_modality", side), 0),
            _figure(_of(evaluation, "n_rows", side), 0),
        ]
        lines.append(f"| {side} | {' | '.join(figures)} |")
    return "\n".join([*lines, ""])


def _labels(record: Any, has_table: bool) -> str:
    if not isinstance(record, Mapping) or not record.get("class_counts"):
        return ""
    counts = record["class_counts"]
    lines = [
        "## Modality of the latents\n",
        f"Score `{record.get('score')}`, {_rule(record)}, on {_figure(record.get('n_pairs'), 0)} "
        f"pairs of {_figure(record.get('n_images'), 0)} images. Other pairs, another score or "
        "another rule can give other classes; a class says which modality a latent belongs to by "
        "this score, not what it means.\n",
        "| class | | latents |",
        "|---|---|---|",
        *(
            f"| {name} | {_MEANINGS.get(name, '')} | {_figure(count, 0)} |"
            for name, count in counts.items()
        ),
        "",
    ]
    if has_table:
        lines.append(
            f"`{TABLE_FILENAME}` has a row for every latent, each score with its interval.\n"
        )
    return "\n".join(lines)


def _rule(record: Mapping[str, Any]) -> str:
    confidence = record.get("confidence")
    if record.get("rule") == "interval" and confidence and record.get("cutoffs"):
        low, high = record["cutoffs"]
        return f"`interval` rule with the cut-offs {low} and {high} at {confidence:.0%} confidence"
    if record.get("rule") == "paper" and record.get("tau") is not None:
        return f"`paper` rule with tau = {record['tau']}"
    return f"`{record.get('rule')}` rule"


def _of(evaluation: Mapping[str, Any], name: str, side: str) -> Any:
    return (evaluation.get(name) or {}).get(side)


def _figure(value: Any, decimals: int) -> str:
    return f"{value:,.{decimals}f}" if isinstance(value, int | float) else "–"


def _cell(value: Any) -> str:
    """A value that cannot break out of its cell of a table."""
    return " ".join(str(value).replace("|", "\\|").split())
