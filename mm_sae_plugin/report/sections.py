"""The sections of the report, each from its data to its markup."""

import math
from collections import Counter
from html import escape

from mm_sae_plugin.report.evaluation import EvaluationFigures
from mm_sae_plugin.report.figures import calibration_plot, firing_rate_scatter, score_histogram
from mm_sae_plugin.report.latent_cards import LatentCards
from mm_sae_plugin.report.palette import COLOURS, DISPLAY_ORDER, MEANINGS
from mm_sae_plugin.stats.auroc import Auroc
from mm_sae_plugin.stats.dominance import ModalityDominance
from mm_sae_plugin.stats.gap_cut import GAP_CUT, points_along_gap
from mm_sae_plugin.stats.nulls import swap_null
from mm_sae_plugin.stats.significance import bonferroni
from mm_sae_plugin.stats.truth import TruthCheck

SCORE_MEANINGS = {
    "mean_of_ratios": "the mean of image / (image + text) activation over the pairs in which the "
    "latent fires at all",
    "ratio_of_means": "the mean activation on images, divided by the sum of the mean activations "
    "on images and on captions",
    "frequency": "how often it fires on images, divided by how often it fires on either side",
    "energy": "the mean squared activation on images, divided by the sum of that on images and on "
    "captions",
}

_TRUE_CLASSES = {
    "TextD": "more often said",
    "CrossD": "drawn and said alike",
    "ImgD": "more often drawn",
}

_CONTRASTS = {
    "ImgD_vs_TextD": "image-dominant against text-dominant",
    "ImgD_vs_shared": "image-dominant against shared",
    "TextD_vs_shared": "text-dominant against shared",
}


def classes_section(dominance: ModalityDominance) -> str:
    """How many latents each class has."""
    counts = dominance.class_counts
    bar = "".join(
        f'<span title="{counts[name]} {name}" style="flex:{counts[name]};'
        f'background:{COLOURS[name]}"></span>'
        for name in DISPLAY_ORDER
        if counts[name]
    )
    legend = "".join(
        f'<li><i class="dot" style="background:{COLOURS[name]}"></i><b>{counts[name]}</b>'
        f'<span><strong>{name}</strong> <span class="soft">{MEANINGS[name]}</span></span></li>'
        for name in DISPLAY_ORDER
    )
    return (
        "<h2>The latents by modality</h2>"
        f'<div class="card"><div class="split">{bar}</div><ul class="legend">{legend}</ul></div>'
    )


def scores_section(dominance: ModalityDominance) -> str:
    """The distribution of the score, and the firing rates behind it."""
    n_dead = dominance.class_counts["Dead"]
    dead = f" The {n_dead} dead latents are left out." if n_dead else ""
    return (
        "<h2>How image-dominant is each latent?</h2>"
        "<p>Every latent has a score between 0 (fires on captions only) and 1 (fires on images "
        f"only): {SCORE_MEANINGS[dominance.cfg.score]}. Dashed lines are the borders between the "
        f"classes.{dead}</p>{_border_warning(dominance)}"
        f'<div class="card scroll">{score_histogram(dominance)}</div>'
    )


def reconstruction_section(dominance: ModalityDominance, figures: EvaluationFigures | None) -> str:
    """Explained variance, L0 and dead latents per modality, beside the firing rates."""
    scatter = (
        '<div class="card"><h3>Firing rates</h3><p class="soft small">One dot per latent. On the '
        "dashed line it fires equally often on both sides.</p>"
        f"{firing_rate_scatter(dominance)}</div>"
    )
    if figures is None:
        return f'<h2>Behind the scores</h2><div class="grid">{scatter}</div>'
    rows = "".join(
        f"<tr><td>{label}</td>{_cell(values.get('image'), form)}{_cell(values.get('text'), form)}"
        "</tr>"
        for label, values, form in (
            ("Explained variance", figures.explained_variance, ".3f"),
            ("Active latents per row (L0)", figures.l0, ".1f"),
            ("Latents that never fire", figures.n_dead, "d"),
        )
        if "image" in values
    )
    both = figures.n_dead.get("both")
    dead = f"<p class='soft small'>Dead on both sides: {both}.</p>" if both is not None else ""
    return (
        "<h2>Behind the scores</h2><div class='grid'>"
        '<div class="card"><h3>Does one dictionary serve both modalities?</h3>'
        '<p class="soft small">Scores mean little if one side is reconstructed badly, so '
        "quality is always given per modality.</p>"
        f"<table><tr><th></th><th>images</th><th>captions</th></tr>{rows}</table>{dead}"
        f"{_null_text(dominance)}</div>{scatter}</div>"
    )


def truth_section(
    dominance: ModalityDominance, truth: TruthCheck, untrained: TruthCheck | None
) -> str:
    """Ranking, labels and calibration against known factors."""
    following = sum(entry.follows for entry in truth.latents)
    head = "<th>untrained SAE</th>" if untrained else ""
    rows = "".join(
        f"<tr><td>{label}</td><td>{_auroc(truth.contrasts[name])}</td>"
        + (f"<td>{_auroc(untrained.contrasts[name])}</td>" if untrained else "")
        + "</tr>"
        for name, label in _CONTRASTS.items()
    )
    calibration = truth.calibration
    share = "–" if calibration.share_within is None else f"{calibration.share_within:.0%}"
    rank = "–" if calibration.spearman is None else f"{calibration.spearman:.2f}"
    return (
        "<h2>Against the known truth</h2>"
        "<p>These pairs come from a world whose factors are known: how often each is drawn in the "
        "image, and how often it is said in the caption. "
        f"{following} of the {len(truth.latents)} alive latents follow one factor (it explains at "
        f"least {truth.min_eta2:.0%} of their variance).</p>"
        '<div class="grid"><div class="card"><h3>Does the score put latents in the right order?'
        '</h3><p class="soft small">Probability that of two latents, one of each group, the '
        "score ranks the right one higher: 1 is always, 0.5 is chance. In brackets the 95% "
        "interval and the number of latents on each side.</p>"
        f"<table><tr><th></th><th>this SAE</th>{head}</tr>{rows}</table>"
        f"{_label_table(dominance, truth)}</div>"
        '<div class="card"><h3>Is the score the right number?</h3><p class="soft small">'
        f"Each dot is a factor: median <code>{truth.calibration_score}</code> of its latents, with "
        "quartiles. Filled dots are the graded factors (drawn always and said now and then, or the "
        f"reverse): {share} of {calibration.n_graded} lie within {calibration.tolerance:g} of the "
        f"truth (the grey band); rank correlation {rank} over the {calibration.n_followed} that "
        "latents follow.</p>"
        f"{calibration_plot(calibration)}</div></div>{_calibration_table(truth)}"
    )


def latents_section(
    dominance: ModalityDominance, cards: LatentCards, latents: dict[str, list[int]]
) -> str:
    """The strongest latents of each class."""
    confidence = f"{dominance.cfg.confidence:.0%}"
    parts = [
        "<h2>The strongest latents of each class</h2>"
        "<p>Ordered by the cautious end of the interval, so that a latent seen on few images does "
        "not come first by luck. The bar under an image or caption is its activation, relative to "
        "the latent's strongest on either side; <mark>marked</mark> words are those that its "
        f"captions share. Brackets are {confidence} intervals.</p>"
    ]
    for name, chosen in latents.items():
        parts.append(
            f'<h3 style="margin-top:26px"><i class="dot" style="background:{COLOURS[name]}"></i> '
            f'{name} <span class="soft small">{MEANINGS[name]}</span></h3>'
        )
        parts += [cards.html(latent) for latent in chosen]
        if not chosen:
            parts.append('<p class="silent">No latent has this class.</p>')
    return "".join(parts)


def method_section(dominance: ModalityDominance) -> str:
    """How the labels came about, with every number that they depend on."""
    cfg, stats = dominance.cfg, dominance.statistics
    if cfg.rule == "paper":
        found = (
            "" if math.isnan(dominance.high) else f" ({dominance.low:.3f}, {dominance.high:.3f})"
        )
        rule = (
            f"A latent is image-dominant above mean + {cfg.tau:g} standard deviation(s) of the "
            f"alive latents' scores, text-dominant below mean − {cfg.tau:g}, cross-modal between"
            f"{found}. This rule is relative: it finds extremes whatever the data."
        )
    else:
        rule = (
            f"A latent is image-dominant when its whole interval lies above {cfg.cutoffs[1]:g}, "
            f"text-dominant when it lies below {cfg.cutoffs[0]:g}, cross-modal when it lies "
            "between; otherwise it is undetermined."
        )
    return (
        '<h2>How this was computed</h2><div class="card small">'
        f"<p>Score <code>{cfg.score}</code>, rule <code>{cfg.rule}</code>. {rule} Fewer than "
        f"{cfg.min_activations} images with any activation on either side: dead.</p>"
        f"<p>{stats.n_pairs:,} pairs of {stats.n_images:,} images. Intervals are "
        f"{cfg.confidence:.0%} Wilson intervals with a delta-method variance clustered by image: "
        "several captions of one image do not count as independent evidence. They hold for one "
        "latent at a time, not for all at once.</p>"
        f"{_gap_text(dominance)}</div>"
    )


def _border_warning(dominance: ModalityDominance) -> str:
    """Say so when a relative rule has put a class out of reach."""
    lost = [
        name
        for name, beyond in (("TextD", dominance.low <= 0), ("ImgD", dominance.high >= 1))
        if beyond
    ]
    if not lost:
        return ""
    return (
        '<p class="warning">The scores spread so widely that the '
        f"<code>{dominance.cfg.rule}</code> rule's border lies off the scale: no latent "
        f"can be {' or '.join(lost)} here, whatever it does. The <code>interval</code> rule has "
        "fixed borders.</p>"
    )


def _gap_text(dominance: ModalityDominance) -> str:
    parts = []
    if dominance.gap_cosine is not None:
        strong = int(points_along_gap(dominance.gap_cosine).sum())
        parts.append(
            f"{strong} of {dominance.n_features} latents point along the modality gap (|cosine| "
            f"with mean image − mean text above {GAP_CUT:g}): they may encode which tower spoke "
            "rather than what was said."
        )
    if dominance.centred_classes is not None:
        moved = Counter(
            (a, b)
            for a, b in zip(dominance.classes, dominance.centred_classes, strict=True)
            if a != b
        )
        most = ", ".join(f"{n} {a} → {b}" for (a, b), n in moved.most_common(4))
        detail = f" ({most})" if most else ""
        parts.append(
            f"With each modality's mean removed before encoding, {sum(moved.values())} of "
            f"{dominance.n_features} labels change{detail}."
        )
    return f"<p>{' '.join(parts)}</p>" if parts else ""


def _null_text(dominance: ModalityDominance) -> str:
    alive = dominance.alive
    n_alive = int(alive.sum())
    null = swap_null(dominance.statistics, dominance.cfg.score)
    n_differ = int(bonferroni(null.p_value[alive]).sum())
    return (
        '<p class="small" style="margin-top:16px">If images and captions were interchangeable, '
        "every score would be near 0.5. Against that null (sides swapped image by image) "
        f"<b>{n_differ} of {n_alive}</b> alive latents differ, at 5% over all latents together.</p>"
    )


def _label_table(dominance: ModalityDominance, truth: TruthCheck) -> str:
    """Given class against true class, over the latents that follow a factor."""
    given = [name for name in DISPLAY_ORDER if name != "Dead"]
    counts = Counter(
        (entry.modality, dominance.classes[entry.latent])
        for entry in truth.latents
        if entry.follows
    )
    head = "".join(f"<th>{name}</th>" for name in given)
    rows = "".join(
        f"<tr><td>{label}</td>"
        + "".join(f"<td>{_count(counts[true, name], name == true)}</td>" for name in given)
        + "</tr>"
        for true, label in _TRUE_CLASSES.items()
    )
    return (
        '<h3 style="margin-top:26px">And the classes?</h3><p class="soft small">Rows: what the '
        "factor truly is. Columns: the class that its latents were given.</p>"
        f"<table><tr><th></th>{head}</tr>{rows}</table>"
    )


def _count(count: int, right: bool) -> str:
    shown = str(count) if count else "·"
    return f"<b>{shown}</b>" if right else shown


def _calibration_table(truth: TruthCheck) -> str:
    rows = "".join(
        f"<tr><td>{escape(row.factor)}</td><td>{row.drawn:g}</td><td>{row.said:g}</td>"
        f"<td>{row.truth:.2f}</td>{_cell(row.median, '.2f')}<td>{row.n_latents}</td>"
        f"<td>{_verdict(row.graded, row.within)}</td></tr>"
        for row in truth.calibration.rows
    )
    return (
        '<details class="card"><summary>Every factor in numbers</summary><table><tr>'
        "<th>factor</th><th>drawn</th><th>said</th><th>truth</th><th>median score</th>"
        f"<th>latents</th><th>within {truth.calibration.tolerance:g}</th></tr>{rows}</table>"
        "</details>"
    )


def _verdict(graded: bool, within: bool) -> str:
    if not graded:
        return '<span class="soft">not counted</span>'
    return "yes" if within else "no"


def _auroc(result: Auroc) -> str:
    if result.value is None or result.low is None or result.high is None:
        sides = f"{result.n_positive}, {result.n_negative}"
        return f'– <span class="soft small">({sides})</span>'
    return (
        f"<b>{result.value:.3f}</b><br><span class='soft small nowrap'>[{result.low:.2f}, "
        f"{result.high:.2f}] ({result.n_positive}, {result.n_negative})</span>"
    )


def _cell(value: float | int | None, form: str) -> str:
    return "<td>–</td>" if value is None else f"<td>{value:{form}}</td>"
