"""Suggested names of latents: the phrase whose presence raises a latent, or that looks like it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mm_sae_plugin.applications.explorer.phrase_sums import PhraseSums

_LEVEL = 0.025
"""Probability that chance alone raises a latent by a phrase's lower end, over all phrases."""
_NEARLY = 0.8
"""A shorter phrase is preferred to one that it raises a latent nearly as much as."""
_LEAST = 0.03
"""Share of a latent's typical code that a phrase must raise it by to be a name. A factor that is
always said and seldom drawn raises latents of images by some six hundredths."""
_SILENT = 0.5
"""Share of an image-dominant latent's typical code that a phrase must raise it by, lest the phrase
only goes along with what it fires for."""
_CHUNK = 512


@dataclass(frozen=True)
class RaisedBy:
    """The phrase whose presence in a caption raises each latent's mean code most."""

    phrase: Int[Tensor, "n_features"]
    """int64: number of the phrase; -1 where none raises it beyond chance."""
    by: Float[Tensor, "n_features"]
    """By how much, as a share of the latent's typical code: the mean code with the phrase less that
    without; NaN where there is none."""
    at_least: Float[Tensor, "n_features"]
    """Lower end of its interval, likewise."""


@dataclass(frozen=True)
class LooksLike:
    """The phrase whose embedding points as a latent's top images do, from the mean of its side."""

    phrase: Int[Tensor, "n_features"]
    """int64: number of the phrase; -1 where no image fires the latent."""
    cosine: Float[Tensor, "n_features"]
    """How nearly; NaN where there is none."""


@dataclass(frozen=True)
class NameAccuracy:
    """Suggested names against the factor that a latent follows, where it is known.

    A name is right where at least nine in ten captions that hold it say the factor's value. On the
    quickstart's dictionary (512 latents, 16,000 pairs) all 141 names of latents that a factor
    explains half of are right, and 132 are that value's word alone; of the 33 that fire for what
    images show and captions mention now and then, the name by embedding is right for 26.
    """

    n: int
    """Latents that a factor with words explains at least half of."""
    right: int
    """Those whose name is right."""
    one_word: int
    """Those whose name is right and one word."""
    n_seen: int
    """Those of them whose own side is images and whose factor is image-dominant."""
    right_by_words: int
    """Those of the seen whose name by words would be right."""
    right_by_embedding: int
    """Those of the seen whose name by embedding would be right."""
    n_without_words: int
    """Latents that follow a factor which no caption ever names; counted nowhere else."""


def raised_by(sums: PhraseSums, typical: Float[Tensor, "n_features"]) -> RaisedBy:
    """Find the phrase that raises each latent most, with caution towards rare ones.

    Phrases are compared by the lower end of the interval of the difference of means (Welch's, at a
    level that all phrases share), so that a word seen twice does not win. Of those within a fifth
    of the best the one with the fewest words is taken: "red" for a latent that "red car" raises a
    little more.

    Parameters
    ----------
    sums : PhraseSums
        Of a whole store.
    typical : float
        Mean of each latent's codes on its own side, weighted by themselves; NaN where it never
        fires.
    """
    from scipy.special import stdtrit

    vocabulary = sums.vocabulary
    *n_with, n_all = vocabulary.n_captions
    n = np.asarray(n_with)[:, None]
    rest = n_all - n
    n_features = sums.sums.shape[1]
    phrase = np.full(n_features, -1, dtype=np.int64)
    by, at_least = np.full(n_features, np.nan), np.full(n_features, np.nan)
    if not len(n) or n_all < 2:
        return RaisedBy(*map(torch.from_numpy, (phrase, by, at_least)))
    n_words = np.array([len(text.split(" ")) for text in vocabulary.phrases])[:, None]
    quantile = stdtrit(np.maximum(n - 1, 1), 1 - _LEVEL / len(n))
    for start in range(0, n_features, _CHUNK):
        part = slice(start, min(start + _CHUNK, n_features))
        codes = sums.sums[:, part].astype(np.float64)
        squares = sums.squares[:, part].astype(np.float64)
        mean, spread = _moments(codes[:-1], squares[:-1], n)
        mean_rest, spread_rest = _moments(codes[-1] - codes[:-1], squares[-1] - squares[:-1], rest)
        raised = mean - mean_rest
        low = raised - quantile * np.sqrt(spread + spread_rest)
        # A phrase of every caption has nothing to be compared with.
        low[(rest < 2)[:, 0]] = -np.inf
        best = low.max(0)
        unit = typical[part].to(torch.float64).numpy()
        order = np.where(low >= _NEARLY * best, n_words - low / np.maximum(best, 1e-300), np.inf)
        chosen = order.argmin(0)
        columns = np.arange(part.stop - part.start)
        found = best >= _LEAST * unit
        phrase[part] = np.where(found, chosen, -1)
        by[part] = np.where(found, raised[chosen, columns] / unit, np.nan)
        at_least[part] = np.where(found, low[chosen, columns] / unit, np.nan)
    return RaisedBy(*map(torch.from_numpy, (phrase, by, at_least)))


def looks_like(
    images: Float[Tensor, "n_features d"],
    phrases: Float[Tensor, "n_phrases d"],
    texts: Sequence[str],
) -> LooksLike:
    """Find the phrase whose embedding is most like each latent's images.

    Parameters
    ----------
    images : float
        Mean embedding of a latent's top images less that of all images; NaN where none fires.
    phrases : float
        Embeddings of the phrases, in the same space.
    texts : sequence of str
        The phrases; of those nearly as like, the one with the fewest words is taken.
    """
    # Captions lie to one side of images; what all have in common tells nothing apart.
    directions = torch.nn.functional.normalize(phrases - phrases.mean(0), dim=1)
    known = ~images.isnan().any(1)
    phrase = torch.full((len(images),), -1, dtype=torch.int64)
    cosine = torch.full((len(images),), torch.nan)
    n_words = torch.tensor([len(text.split(" ")) for text in texts], dtype=torch.float32)
    for rows in known.nonzero()[:, 0].split(_CHUNK):
        likeness = torch.nn.functional.normalize(images[rows], dim=1) @ directions.T
        best = likeness.amax(1, keepdim=True)
        order = torch.where(likeness >= (1 - (1 - _NEARLY) / 4) * best, n_words - likeness, 1e9)
        phrase[rows] = order.argmin(1)
        cosine[rows] = likeness.gather(1, phrase[rows, None])[:, 0]
    return LooksLike(phrase, cosine)


def named_by_embedding(
    raised: RaisedBy,
    looks: LooksLike,
    image_dominant: Bool[Tensor, "n_features"],
) -> Bool[Tensor, "n_features"]:
    """Say which latents take the name that their images look like.

    Image-dominant ones that no phrase raises to half of their typical code: captions then speak
    only of what goes along.
    """
    silent = ~(raised.by >= _SILENT)
    return image_dominant & silent & (looks.phrase >= 0)


def _moments(sums: np.ndarray, squares: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means, and the variances of these means."""
    n = np.maximum(n, 1)
    mean = sums / n
    return mean, (squares / n - mean**2).clip(0) / np.maximum(n - 1, 1)
