"""What a :class:`~mm_sae_plugin.models.HookedCLIP` is, as plain values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HookedCLIPConfig:
    """Read-only description of a wrapped model; it can be written to JSON as it is."""

    model_name: str
    """The name the model was loaded by, such as ``"ViT-B-32"`` or ``"factorworld"``."""
    weights_id: str
    """Which weights: a published tag (``"open_clip:ViT-B-32/laion2b_s34b_b79k"``) or, when they
    are local or random, ``"sha256:"`` and the first 16 digits of a hash over the state dict."""
    family: str
    """The adapter in use, such as ``"open_clip.vit"`` or ``"transformers.siglip"``."""
    d_joint: int
    """Width of the space that both towers project into."""
    d_vision: int | None
    """Width of the vision tower's residual stream; ``None`` for a convolutional tower."""
    d_text: int | None
    """Width of the text tower's residual stream; ``None`` where its blocks are not hooked."""
    n_layers_vision: int
    """Blocks of the vision tower that have hooks; 0 for a convolutional tower."""
    n_layers_text: int
    """Blocks of the text tower that have hooks."""
    image_size: tuple[int, int]
    """Height and width in pixels of the images the model takes."""
    context_length: int
    """Tokens in one tokenised caption."""
    device: str
    """Where the weights are now, such as ``"cpu"`` or ``"cuda:0"``."""
    dtype: str
    """The weights' floating-point type now, such as ``"float32"``."""
