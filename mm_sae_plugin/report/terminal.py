"""The same answer in a terminal: one readable table."""

from typing import TYPE_CHECKING, Any

from mm_sae_plugin.report.borders import border_warning
from mm_sae_plugin.report.choice import ranked_latents
from mm_sae_plugin.report.evaluation import EvaluationFigures, EvaluationLike
from mm_sae_plugin.report.palette import COLOURS
from mm_sae_plugin.report.ties import tie
from mm_sae_plugin.stats.config import CLASSES
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.scores import CARRIED, PAPER_SCORE
from mm_sae_plugin.stats.truth import TruthCheck

if TYPE_CHECKING:
    from rich.console import Group


def terminal_table(
    dominance: ModalityDominance,
    evaluation: EvaluationLike | None = None,
    truth: TruthCheck | None = None,
    untrained: TruthCheck | None = None,
    stability: str | None = None,
) -> "Group":
    """Build what `rich.print` shows: the classes, the quality per modality, the truth.

    Under the paper's rule a sentence says what its relative borders do to these scores.

    Parameters
    ----------
    dominance : ModalityDominance
        Scores, intervals and classes.
    evaluation : PerModalityEvaluation or mapping, optional
        As in `render_report`.
    truth, untrained : TruthCheck, optional
        As in `render_report`.
    stability : str, optional
        As in `render_report`.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [_classes(dominance, truth)]
    if dominance.carried is not None:
        parts.append(Text(_carried(dominance)))
    if stability is not None:
        parts.append(Text(stability))
    warning = border_warning(dominance)
    if warning is not None:
        parts.append(Text(warning, style="yellow"))
    if evaluation is not None:
        parts.append(_quality(EvaluationFigures.of(evaluation)))
    if truth is not None:
        parts.append(_truth(truth, untrained))
    return Group(*parts)


def _classes(dominance: ModalityDominance, truth: TruthCheck | None):
    from rich.markup import escape
    from rich.table import Table

    cfg = dominance.cfg
    table = Table(
        title=f"Modality of {dominance.n_features} latents · {cfg.score}, {cfg.rule} rule",
        title_justify="left",
    )
    table.add_column("class")
    table.add_column("latents", justify="right")
    table.add_column("share", justify="right")
    table.add_column("median MDS", justify="right")
    table.add_column("strongest latent", overflow="fold")
    follows = {} if truth is None else truth.by_latent()
    ranked = ranked_latents(dominance)
    for name in CLASSES:
        members = dominance.latents(name)
        median, strongest = "–", "–"
        if members and name != "Dead":
            median = f"{float(dominance.scores[members].nanmedian()):.2f}".replace("nan", "–")
            best = ranked[name][0]
            belongs = tie(dominance, best)
            low, high = dominance.intervals[best].tolist()
            score = f"{float(dominance.scores[best]):.2f}".replace("nan", "–")
            strongest = f"#{best}  {score} \\[{low:.2f}, {high:.2f}]"
            if best in follows:
                entry = follows[best]
                strongest += f"  {escape(f'{entry.factor} = {entry.value}')}"
            if belongs is not None:
                strongest += f"  ({belongs})"
        table.add_row(
            f"[{COLOURS[name]}]●[/] {name}",
            str(len(members)),
            f"{len(members) / max(dominance.n_features, 1):.0%}",
            median,
            strongest,
        )
    return table


def _carried(dominance: ModalityDominance) -> str:
    n_concepts = len(dominance.concepts)
    told = f"{dominance.n_split} latents are parts of {n_concepts} split concepts, "
    told += f"{dominance.n_by_association} are carried by association only"
    if dominance.n_undecidable:
        told += f", {dominance.n_undecidable} cannot be decided (more pairs would tell)"
    if dominance.cfg.score == CARRIED and dominance.kappa is not None:
        told += f"; agreement with the paper's score: kappa {dominance.kappa:.2f}"
    return f"{told}."


def _quality(figures: EvaluationFigures):
    from rich.table import Table

    table = Table(title="Reconstruction", title_justify="left")
    table.add_column("")
    for side in ("images", "captions"):
        table.add_column(side, justify="right")
    for label, values, form in (
        ("explained variance", figures.explained_variance, ".3f"),
        ("L0", figures.l0, ".1f"),
        ("latents that never fire", figures.n_never_firing, "d"),
    ):
        if "image" in values and "text" in values:
            row = (f"{values[side]:{form}}" for side in ("image", "text"))
            table.add_row(label, *("–" if cell == "nan" else cell for cell in row))
    if "both" in figures.n_never_firing:
        table.add_row("never fire in either modality", str(figures.n_never_firing["both"]), "")
    return table


def _truth(truth: TruthCheck, untrained: TruthCheck | None):
    from rich.table import Table

    calibration = truth.calibration
    share = "–" if calibration.share_within is None else f"{calibration.share_within:.0%}"
    rank = "–" if calibration.spearman is None else f"{calibration.spearman:.2f}"
    table = Table(
        title="Against the known truth (AUROC, 95% interval)",
        title_justify="left",
        caption=f"Calibration of {truth.calibration_score}: {share} of {calibration.n_graded} "
        f"graded factors within {calibration.tolerance:g}, rank correlation {rank} "
        f"over the {calibration.n_followed} that latents follow",
        caption_justify="left",
    )
    table.add_column("contrast")
    table.add_column("this SAE", justify="right")
    table.add_column("latents", justify="right")
    if truth.score == CARRIED:
        table.add_column("paper's score", justify="right")
    if untrained is not None:
        table.add_column("untrained", justify="right")
    for name, result in truth.contrasts.items():
        row = [
            name.replace("_", " "),
            _auroc(result.value, result.low, result.high),
            f"{result.n_positive} : {result.n_negative}",
        ]
        others = []
        if truth.score == CARRIED:
            others.append(truth.contrasts_by_score[PAPER_SCORE][name])
        if untrained is not None:
            others.append(untrained.contrasts[name])
        row += [_auroc(other.value, other.low, other.high) for other in others]
        table.add_row(*row)
    return table


def _auroc(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "–"
    return f"{value:.3f} \\[{low:.2f}, {high:.2f}]"
