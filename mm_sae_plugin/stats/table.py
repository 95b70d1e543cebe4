"""The columns of a latent's row that follow from the sums alone."""

from mm_sae_plugin.stats.accumulator import ModalityStatistics
from mm_sae_plugin.stats.config import ModalityConfig
from mm_sae_plugin.stats.intervals import firing_rates, score_intervals, score_values
from mm_sae_plugin.stats.nulls import coactivation_lift, swap_null
from mm_sae_plugin.stats.scores import SCORES


def statistics_columns(stats: ModalityStatistics, cfg: ModalityConfig) -> dict[str, object]:
    """Every score and firing rate with its interval, means, co-activation and the swap null.

    Returns
    -------
    dict
        Column name to a float64 array of shape [n_features].
    """
    columns: dict[str, object] = {}
    for score in SCORES:
        interval = score_intervals(stats, score, cfg.confidence)
        columns[score] = score_values(stats, score).numpy()
        columns[f"{score}_low"] = interval[:, 0].numpy()
        columns[f"{score}_high"] = interval[:, 1].numpy()
    for side, (rate, interval) in firing_rates(stats, cfg.confidence).items():
        name = "coverage" if side == "either" else f"rate_{side}"
        columns[name] = rate.numpy()
        columns[f"{name}_low"] = interval[:, 0].numpy()
        columns[f"{name}_high"] = interval[:, 1].numpy()
    n = max(stats.n_pairs, 1)
    columns["mean_image"] = (stats.channel("image") / n).numpy()
    columns["mean_text"] = (stats.channel("text") / n).numpy()
    columns["coactivation_lift"] = coactivation_lift(stats).numpy()
    null = swap_null(stats, cfg.code_score)
    columns["swap_z"], columns["swap_p"] = null.z.numpy(), null.p_value.numpy()
    return columns
