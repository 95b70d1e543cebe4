"""The audit card: one self-contained page, made from the record of an audit alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import atomic_path
from mm_sae_plugin.report.bias_examples import LatentExamples, examples_of
from mm_sae_plugin.report.bias_sections import SECTIONS, is_of_twins
from mm_sae_plugin.report.pages import rendered

if TYPE_CHECKING:
    from mm_sae_plugin.study import Study


def bias_card(
    record: Mapping[str, Any], examples: Mapping[int, LatentExamples] | None = None
) -> str:
    """Return the audit card as HTML, without a script and without anything to be fetched.

    Parameters
    ----------
    record : mapping
        What ``record_of_twins`` or ``record_of_groups`` gives, or `audit.json` holds.
    examples : mapping of int to LatentExamples, optional
        Latent to what it fires on, of latents that the record names; see ``examples_of``.
    """
    parts = [
        (section, rendered(f"bias/{section.template}", section.values(record, examples or {})))
        for section in SECTIONS
    ]
    sae = record["sae"]
    facts = {
        "model": record["model"]["name"],
        "SAE": "none given" if sae is None else f"{sae['name']} ({sae['d_sae']:,} latents)",
        "data": record["source"]["name"],
        "groups": ", ".join(record["groups"]["names"]),
        "compared": "twins" if is_of_twins(record) else "groups of different people",
    }
    title = f"Bias audit of {record['model']['name']} on {record['source']['name']}"
    return rendered("bias/page.html", {"title": title, "facts": facts, "parts": parts}) + "\n"


def write_bias_card(
    record: Mapping[str, Any], path: str | Path, study: Study | None = None
) -> Path:
    """Write the audit card and return its path.

    Parameters
    ----------
    record : mapping
        See :func:`bias_card`.
    path : str or Path
        Of the HTML file.
    study : Study, optional
        That of the record's SAE: adds what its latents fire on, from its own store.

    Raises
    ------
    UserError
        If the study is of another SAE or its store is gone, or the page cannot be written there.
    """
    page = bias_card(record, {} if study is None else _examples(record, study))
    with atomic_path(path) as temporary:
        # A file name may hold bytes that are no text.
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return Path(path)


def _examples(record: Mapping[str, Any], study: Study) -> dict[int, LatentExamples]:
    attribution = record["attribution"]
    if attribution is None:
        return {}
    if study.sae_id != record["sae"]["sae_id"]:
        raise UserError(
            f"The SAE in {study.path} is {study.sae_id}, and the audit is of "
            f"{record['sae']['sae_id']}: give the study that was audited."
        )
    return examples_of(study, [row["latent"] for row in attribution["latents"]])
