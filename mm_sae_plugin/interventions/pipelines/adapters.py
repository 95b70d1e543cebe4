"""IP-Adapters: whether the one that is loaded reads the joint space."""

from __future__ import annotations

from typing import Any

from mm_sae_plugin.errors import UserError

_READS = {
    "IPAdapterPlusImageProjection": "patch tokens of the encoder's last layer but one",
    "IPAdapterFullImageProjection": "patch tokens of the encoder's last layer but one",
    "IPAdapterFaceIDImageProjection": "the embedding of a face recogniser",
    "IPAdapterFaceIDPlusImageProjection": "the embedding of a face recogniser",
}


def has_adapter(unet: Any) -> bool:
    """Whether any IP-Adapter is loaded into a UNet."""
    return bool(_projections(unet))


def why_no_adapter(unet: Any) -> str | None:
    """Say why no base IP-Adapter can be edited in a UNet; None where one can.

    Base adapters project the encoder's joint embedding (diffusers' ``ImageProjection``). Those with
    another projection are given something else in the same place.
    """
    layers = _projections(unet)
    if not layers:
        return (
            "its prompt arrives as token states, which are not the joint space: load a base "
            "IP-Adapter, load_ip_adapter(…), whose image embedding is"
        )
    for layer in layers:
        kind = type(layer).__name__
        if kind != "ImageProjection":
            reads = _READS.get(kind, "something else than the encoder's joint embedding")
            return (
                f"its IP-Adapter ({kind}) reads {reads}, which is not the joint space: load a base "
                "IP-Adapter"
            )
    if len(layers) > 1:
        return (
            f"it has {len(layers)} IP-Adapters, and an edit of one would be mixed with the others: "
            "load one"
        )
    return None


def refuse_no_picture(unet: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise ``UserError`` where a pipeline with an adapter is called without a picture for it.

    A hook, to be set before the edit's own.
    """
    if "image_embeds" not in (kwargs.get("added_cond_kwargs") or ()):
        raise UserError(
            "The pipeline was called without a picture for its IP-Adapter, so there is no image "
            "embedding to edit: give ip_adapter_image=…."
        )


def _projections(unet: Any) -> list[Any]:
    projection = getattr(unet, "encoder_hid_proj", None)
    return list(getattr(projection, "image_projection_layers", ()))
