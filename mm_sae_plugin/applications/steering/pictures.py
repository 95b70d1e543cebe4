"""How alike pictures are: structural similarity, without weights to fetch."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_WINDOW = 7
# Wang et al. 2004, with values in 0 to 1.
_C1, _C2 = 0.01**2, 0.03**2


def ssim(
    one: Float[Tensor, "n 3 height width"], other: Float[Tensor, "n 3 height width"]
) -> Float[Tensor, "n"]:
    """Return the mean structural similarity of each pair of pictures.

    Wang et al. 2004, equation 13, over windows of 7 × 7 pixels and all colours; 1 is the same
    picture, 0 nothing in common.

    Parameters
    ----------
    one, other : float
        Pixels, 0 to 1.
    """
    mean_one, mean_other = _local(one), _local(other)
    # Unbiased, as windows are small.
    unbias = _WINDOW**2 / (_WINDOW**2 - 1)
    var_one = unbias * (_local(one * one) - mean_one**2)
    var_other = unbias * (_local(other * other) - mean_other**2)
    covariance = unbias * (_local(one * other) - mean_one * mean_other)
    alike = (2 * mean_one * mean_other + _C1) * (2 * covariance + _C2)
    alike = alike / ((mean_one**2 + mean_other**2 + _C1) * (var_one + var_other + _C2))
    return alike.mean(dim=(1, 2, 3))


def _local(pixels: Tensor) -> Tensor:
    return F.avg_pool2d(pixels, _WINDOW, stride=1)
