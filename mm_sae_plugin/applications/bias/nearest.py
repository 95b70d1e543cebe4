"""Zero-shot classification: the name whose sentences an image is nearest to."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def nearest_names(
    images: Float[Tensor, "n_images d"], texts: Mapping[str, Float[Tensor, "n_prompts d"]]
) -> list[str]:
    """Return, of each image, the name whose prompts it is nearest to.

    Parameters
    ----------
    images : float
        Unit-length joint vectors.
    texts : mapping of str to float
        Name to those of its prompts. Each name is one direction, however many prompts it has.
    """
    names = list(texts)
    classes = normalize(torch.stack([rows.mean(0) for rows in texts.values()]), dim=1)
    return [names[index] for index in (images @ classes.T).argmax(1).tolist()]
