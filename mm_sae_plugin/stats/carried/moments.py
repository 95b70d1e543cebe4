"""First pass: the moments that linear readers of a latent's codes are fitted from."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mm_sae_plugin.modality import MODALITIES, Modality
from mm_sae_plugin.stats.active_codes import ActiveCodes
from mm_sae_plugin.stats.carried.groups import N_FOLDS, fold_of, image_groups
from mm_sae_plugin.stats.interfaces import CodedPairs, PairedActivations

# Entries that wait to be added to the products, both modalities' together, for each latent.
_ENTRIES_PER_LATENT = 16


@dataclass(frozen=True)
class _Batch:
    """Pairs whose products are still to be added."""

    fold: Int[Tensor, "batch"]
    """Half of each pair."""
    acts: dict[Modality, Float[Tensor, "batch d_and_one"]]
    """Activations of each modality with ones."""
    active: dict[Modality, ActiveCodes]
    """What is active in the codes of each modality, but nothing where it is much."""


def covariance_of(
    products: Float[Tensor, "d_first_and_one d_second_and_one"],
) -> Float[Tensor, "d_first d_second"]:
    """Covariance from sums of products of two vectors that both end in the constant 1."""
    means = products / products[-1, -1].clamp_min(1)
    return means[:-1, :-1] - torch.outer(means[:-1, -1], means[-1, :-1])


class ProbeMoments:
    """An accumulator of the moments of activations and of latents' codes, for each half.

    Memory is 2 · 2 · n_features · (d_image + d_text) numbers and the activations' second moments,
    however many pairs there are.

    Parameters
    ----------
    n_features : int
        Number of latents.
    d_image, d_text : int
        Widths of the activations; a column of ones joins each.
    """

    def __init__(self, n_features: int, d_image: int, d_text: int) -> None:
        self.n_features = n_features
        self.widths: dict[Modality, int] = {"image": d_image, "text": d_text}
        self.second: dict[Modality, Float[Tensor, "folds d d"]] = {
            m: torch.zeros(N_FOLDS, d + 1, d + 1, dtype=torch.float64)
            for m, d in self.widths.items()
        }
        """Second moments of the activations of each modality, the ones' column last."""
        self.between: Float[Tensor, "folds d_image_and_one d_text_and_one"] = torch.zeros(
            N_FOLDS, d_image + 1, d_text + 1, dtype=torch.float64
        )
        """Products of the images' activations with those of their captions."""
        # Large, so there is none before there is something to add.
        self._cross: dict[tuple[Modality, Modality], Tensor] | None = None
        # Adding to many latents is worth its while only once there is much to add to each.
        self._waiting: list[_Batch] = []
        self.activity: dict[Modality, Float[Tensor, "n_features"]] = {
            m: torch.zeros(n_features, dtype=torch.float64) for m in MODALITIES
        }
        """Sums of the codes of each modality."""
        self.energy: dict[Modality, Float[Tensor, "n_features"]] = {
            m: torch.zeros(n_features, dtype=torch.float64) for m in MODALITIES
        }
        """Sums of their squares."""

    @classmethod
    def of(cls, store: PairedActivations, n_features: int) -> "ProbeMoments":
        """An empty accumulator for a store."""
        # One pair tells the widths: all rows at once may not fit into memory.
        first = next(iter(store.iter_pairs(1)), None)
        d_image, d_text = (0, 0) if first is None else (first[0].shape[1], first[1].shape[1])
        return cls(n_features, d_image, d_text)

    @property
    def n_bytes(self) -> int:
        """Memory of the products of activations and codes."""
        numbers = N_FOLDS * len(MODALITIES) * self.n_features * sum(self.widths.values())
        return 8 * numbers

    def empty(self) -> "ProbeMoments":
        """An accumulator of the same kind that has seen nothing."""
        return ProbeMoments(self.n_features, self.widths["image"], self.widths["text"])

    @property
    def cross(self) -> dict[tuple[Modality, Modality], Float[Tensor, "folds d n_features"]]:
        """Activations of the first modality times the codes of the second."""
        self._settle()
        return self._sums()

    def _sums(self) -> dict[tuple[Modality, Modality], Tensor]:
        if self._cross is None:
            self._cross = {
                # Latent by latent in memory, since a batch touches few of them.
                (read, fired): torch.zeros(N_FOLDS, self.n_features, d + 1, dtype=torch.float64).mT
                for read, d in self.widths.items()
                for fired in MODALITIES
            }
        return self._cross

    def update_pairs(self, pairs: CodedPairs) -> None:
        """Add a batch of a pass."""
        fold = fold_of(image_groups(pairs.rows.image_index))
        acts: dict[Modality, Tensor] = {
            "image": with_ones(pairs.rows.acts_image),
            "text": with_ones(pairs.rows.acts_text),
        }
        codes: dict[Modality, Tensor] = {"image": pairs.codes_image, "text": pairs.codes_text}
        for modality, active in pairs.active.items():
            self.activity[modality] += active.sums()
            self.energy[modality] += active.sums(power=2)
        for half in range(N_FOLDS):
            mine = (fold == half).nonzero()[:, 0]
            part = {m: rows[mine.to(rows.device)].double() for m, rows in acts.items()}
            self.between[half] += (part["image"].T @ part["text"]).cpu()
            for read in MODALITIES:
                self.second[read][half] += (part[read].T @ part[read]).cpu()
            for fired, active in pairs.active.items():
                if active.are_few:
                    continue
                coded = codes[fired][mine.to(codes[fired].device)].to(part["image"])
                for read in MODALITIES:
                    self._sums()[read, fired][half] += (part[read].T @ coded).cpu()
        few: dict[Modality, ActiveCodes] = {
            m: a if a.are_few else a.of_none() for m, a in pairs.active.items()
        }
        self._waiting.append(_Batch(fold, acts, few))
        if self._waits_long():
            self._settle()

    def _waits_long(self) -> bool:
        n_rows = sum(len(batch.fold) for batch in self._waiting)
        n_entries = sum(len(a.rows) for batch in self._waiting for a in batch.active.values())
        # Where little fires, rows wait, and they must not be more than what is summed.
        return n_entries > _ENTRIES_PER_LATENT * self.n_features or n_rows > self.n_features

    def _settle(self) -> None:
        """Add the products of what has waited."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        acts: dict[Modality, Tensor] = {
            m: torch.cat([batch.acts[m] for batch in waiting]).to("cpu", torch.float64)
            for m in MODALITIES
        }
        fold = torch.cat([batch.fold for batch in waiting])
        for fired in MODALITIES:
            active = ActiveCodes.joined([batch.active[fired] for batch in waiting])
            for half in range(N_FOLDS):
                entries = active.of_rows(fold == half).by_latent()
                for read, rows in acts.items():
                    self._sums()[read, fired][half].T.addmm_(entries, rows)

    def merge(self, other: "ProbeMoments") -> "ProbeMoments":
        """Add the moments of other pairs; return `self`."""
        other._settle()
        for modality in MODALITIES:
            self.second[modality] += other.second[modality]
            self.activity[modality] += other.activity[modality]
            self.energy[modality] += other.energy[modality]
        if other._cross is not None:
            for pair, cross in other._cross.items():
                self.cross[pair] += cross
        self.between += other.between
        return self

    def covariance(
        self, first: Modality, second: Modality, half: int
    ) -> Float[Tensor, "d_first d_second"]:
        """Covariance of the activations of two modalities (or of one) over one half's pairs."""
        if first == second:
            products = self.second[first][half]
        else:
            products = self.between[half] if first == "image" else self.between[half].T
        return covariance_of(products)

    def state_dict(self) -> dict[str, Tensor]:
        """The moments as plain tensors."""
        return (
            {f"second.{m}": tensor for m, tensor in self.second.items()}
            | {f"cross.{read}.{fired}": t for (read, fired), t in self.cross.items()}
            | {f"activity.{m}": tensor for m, tensor in self.activity.items()}
            | {f"energy.{m}": tensor for m, tensor in self.energy.items()}
            | {"between": self.between}
        )


def with_ones(acts: Float[Tensor, "batch d"]) -> Float[Tensor, "batch d_and_one"]:
    """Activations in float32 with a column of ones behind them."""
    acts = acts.to(torch.float32)
    return torch.cat([acts, acts.new_ones(len(acts), 1)], dim=1)
