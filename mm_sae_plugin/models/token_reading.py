"""Reading single tokens of a vision tower in the joint space, through the tower's own head."""

from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.hooks.routes import InputRoute
from mm_sae_plugin.models.hook_names import VISION

if TYPE_CHECKING:
    from mm_sae_plugin.models.hooked_clip import HookedCLIP


def patches_in_joint_space(
    model: "HookedCLIP", pixels: Float[Tensor, "1 3 height width"], normalize: bool
) -> Float[Tensor, "rows columns d_joint"]:
    """Read every patch of an image as if the whole image were that patch.

    The tokens that enter the last block are taken one by one. For each, the last block and the
    tower's own final norm, pooling head and projection are run on a sequence in which this token
    stands everywhere, so that attention, and pooling by class token, mean or attention, read
    nothing else. No family has code of its own here: it is the wrapped model that runs.

    Why before the last block: in a tower that pools by its class token, nothing that patches gather
    in the last block is ever used, so what leaves it has no meaning that training gave.

    Parameters
    ----------
    model : HookedCLIP
    pixels : float
        One image, preprocessed.
    normalize : bool
        Return unit vectors (``hook_normalized``) rather than ``hook_proj``.

    Raises
    ------
    UserError
        If the tower's blocks are not hooked, as a convolutional one's are not, if they use the
        tokens' positions, or if its patches do not form a grid.
    """
    spec = model.family.vision(model.clip)
    n_layers = model.n_layers(VISION)
    name = model.cfg.model_name
    if not n_layers:
        raise UserError(
            f"The vision tower of {name} has no tokens that can be read one by one (it is "
            "convolutional, or of an unknown kind): there is no map of where a latent fires."
        )
    if spec.blocks_use_positions:
        raise UserError(
            f"The blocks of {name}'s vision tower look at the tokens' positions, so that no token "
            "can be read alone: there is no map of where a latent fires."
        )
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            tokens, _ = model(images=pixels, stop_at_layer=n_layers - 1)
            assert tokens is not None
            n_prefix = model.n_prefix_tokens(VISION)
            patches = tokens[0, n_prefix:]
            rows, columns = _grid(model, len(patches))
            everywhere = patches[:, None].expand(-1, n_prefix + 1, -1)
            # As many pictures go in as rows shall come out, but only the last block runs on them
            # all: one stands for them before it. A hook point would refuse other numbers of rows.
            first, last = (InputRoute(spec.block_paths[i], spec.batch_first) for i in (0, -1))
            with ExitStack() as stack:
                stack.callback(first.install(model.clip, lambda acts: acts[:1]))
                stack.callback(last.install(model.clip, lambda _: everywhere))
                pictures = pixels.expand(len(patches), -1, -1, -1)
                read = model.encode_image(pictures, normalize=normalize)
    finally:
        model.train(was_training)
    return read.clone().reshape(rows, columns, -1)


def _grid(model: "HookedCLIP", n_patches: int) -> tuple[int, int]:
    height, width = model.cfg.image_size
    side = (height * width / max(n_patches, 1)) ** 0.5
    rows, columns = round(height / side), round(width / side)
    if rows * columns != n_patches:
        raise UserError(
            f"The {n_patches} patches of {model.cfg.model_name} form no grid over its images of "
            f"{height} × {width} pixels: there is no map of where a latent fires."
        )
    return rows, columns
