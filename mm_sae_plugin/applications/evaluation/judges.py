"""Which encoders judge a store's features, and the store as they see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mm_sae_plugin.applications.evaluation.monosemantic_config import MonosemanticityConfig
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models.independent import CLASSIFIER, TFIDF, load_encoder
from mm_sae_plugin.models.independent_encoder import IndependentEncoder
from mm_sae_plugin.pairs.world import SOURCE
from mm_sae_plugin.stats.interfaces import PairedActivations
from mm_sae_plugin.stats.monosemanticity.embedded import EmbeddedPairs, embed_pairs

if TYPE_CHECKING:
    from mm_sae_plugin.activations import ActivationStore

# Trained on the same world by another method, so that each can judge the other.
_PLAIN, _OTHER = "factorworld", "factorworld-declip"


def embed_for(
    store: ActivationStore | PairedActivations,
    cfg: MonosemanticityConfig | None = None,
    progress: bool = False,
) -> EmbeddedPairs:
    """Load the encoders that a config names and embed a store's pairs with them, once.

    Parameters
    ----------
    store : ActivationStore or PairedActivations
        What the features are of. Without a manifest nothing is known of its source and encoder,
        and every encoder must be named.
    cfg : MonosemanticityConfig, optional
        Which encoders, and how many images.
    progress : bool
        Show a progress bar.

    Raises
    ------
    UserError
        If an encoder is the one that is interpreted, cannot be loaded or reads another modality,
        or no picture is found.
    """
    cfg = cfg or MonosemanticityConfig()
    manifest = getattr(store, "manifest", None)
    source, weights_id = getattr(manifest, "source", ""), getattr(manifest, "weights_id", "")
    names = _names(cfg, source, getattr(manifest, "model_name", ""))
    loaded: dict[str, IndependentEncoder] = {}
    for name in dict.fromkeys(name for name in names if name is not None):
        loaded[name] = load_encoder(name, cfg.device)
        loaded[name].refuse_as_interpreted(weights_id)
    image, text, joint = (None if name is None else loaded[name] for name in names)
    pairs = cast(PairedActivations, store)
    return embed_pairs(
        pairs, image, text, joint, cfg.n_images, cfg.n_folds, cfg.seed, progress=progress
    )


def _names(
    cfg: MonosemanticityConfig, source: str, interpreted: str
) -> tuple[str | None, str, str | None]:
    """Names of the encoders of images, of captions and of both."""
    image, joint = cfg.image_encoder, cfg.joint_encoder
    if SOURCE.answers(source):
        image = image or CLASSIFIER
        joint = joint or (_OTHER if interpreted != _OTHER else _PLAIN)
    if image == CLASSIFIER:
        _refuse_training_pictures(source)
    return image, cfg.text_encoder or TFIDF, joint


def _refuse_training_pictures(source: str) -> None:
    from mm_sae_plugin.factorworld.classifier import classifier_card

    seed = str(classifier_card()["world_seed"])
    if source.split(":")[2:] == [seed]:
        raise UserError(
            f"{CLASSIFIER} was trained on the pictures of {source}: extract pairs of another "
            f"seed than {seed}, or name another encoder of images."
        )
