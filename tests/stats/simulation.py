"""Data sets whose true scores are known: each latent is one independent data set."""

from dataclasses import dataclass

import numpy as np
import torch

from mm_sae_plugin.stats import ModalityStatistics


@dataclass(frozen=True)
class Design:
    """How pairs arise. Captions of one image share its code and, by `shared`, each other's."""

    n_images: int
    p_image: float
    p_text: float
    shape_image: float = 2.0
    shape_text: float = 2.0
    max_captions: int = 1
    shared: float = 0.0

    @property
    def p_either(self) -> float:
        return self.p_image + self.p_text - self.p_image * self.p_text

    @property
    def truth(self) -> dict[str, float]:
        """Expectations, from gamma activations of unit scale that fire with given odds."""
        pi, pt, ki, kt = self.p_image, self.p_text, self.shape_image, self.shape_text
        energy_i, energy_t = pi * ki * (ki + 1), pt * kt * (kt + 1)
        return {
            # The ratio of two gammas is a beta variable with mean ki / (ki + kt).
            "mean_of_ratios": (pi * (1 - pt) + pi * pt * ki / (ki + kt)) / self.p_either,
            "ratio_of_means": pi * ki / (pi * ki + pt * kt),
            "frequency": pi / (pi + pt),
            "energy": energy_i / (energy_i + energy_t),
        }


@dataclass(frozen=True)
class Simulated:
    """Codes of all data sets over the same images."""

    codes_image: np.ndarray
    codes_text: np.ndarray
    image_id: np.ndarray

    @property
    def statistics(self) -> ModalityStatistics:
        stats = ModalityStatistics(self.codes_image.shape[1])
        stats.update(
            torch.from_numpy(self.codes_image), torch.from_numpy(self.codes_text), self.image_id
        )
        return stats


def simulate(design: Design, n_data_sets: int, seed: int = 0) -> Simulated:
    rng = np.random.default_rng(seed)
    n_captions = rng.integers(1, design.max_captions + 1, design.n_images)
    image_id = np.repeat(np.arange(design.n_images), n_captions)
    per_image, per_pair = (design.n_images, n_data_sets), (len(image_id), n_data_sets)

    codes_image = rng.gamma(design.shape_image, size=per_image) * (
        rng.random(per_image) < design.p_image
    )
    common = rng.gamma(design.shape_text, size=per_image) * (rng.random(per_image) < design.p_text)
    codes_text = rng.gamma(design.shape_text, size=per_pair) * (
        rng.random(per_pair) < design.p_text
    )
    # With odds `shared` a caption repeats what the image's other captions say.
    codes_text = np.where(rng.random(per_pair) < design.shared, common[image_id], codes_text)
    return Simulated(codes_image[image_id], codes_text, image_id)
