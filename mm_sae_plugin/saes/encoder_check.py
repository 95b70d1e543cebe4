"""Whether an SAE and an encoder, or its activations, belong together: the one place that asks."""

import warnings
from collections.abc import Iterator
from typing import Any

from sae_lens import SAE, TrainingSAE

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.modality import MODALITIES, TOWERS, Modality, other_modality

# What besides the weights changes an activation; versions that did not note one leave it None.
_PREPARATIONS = {"transform_id": "image transform", "tokenizer_id": "tokenizer"}


def check_encoder(sae: SAE[Any] | TrainingSAE[Any], store_or_model: Any) -> None:
    """Refuse to use an SAE with another encoder than the one it was trained on.

    An SAE without metadata about its encoder (trained elsewhere) is only checked for its width.
    Where one side is of a version that knew an encoder by its weights alone, the weights decide
    and a warning says so.

    Parameters
    ----------
    sae : SAE
        The SAE.
    store_or_model : ActivationStore or HookedCLIP
        Activations, or the model that makes them. A store is also checked for its hooks and width.

    Raises
    ------
    UserError
        Naming both encoders, both preparations of their input, both hooks, or both widths.
    """
    metadata = sae.cfg.metadata
    manifest = getattr(store_or_model, "manifest", None)
    other = store_or_model if manifest is None else manifest
    kind = "this model is" if manifest is None else "these activations come from"
    _check_weights(metadata, other, kind)
    _check_preparations(metadata, other)
    if manifest is not None:
        _check_hooks(metadata, manifest)
        _check_width(sae.cfg.d_in, manifest)


def check_tower(sae: SAE[Any] | TrainingSAE[Any], hook_name_or_modality: str) -> None:
    """Refuse the other tower's activations to an SAE that was folded for one modality.

    Parameters
    ----------
    sae : SAE
        The SAE; one that was never folded is good for both towers.
    hook_name_or_modality : str
        Where it is to be used: ``"image"``, ``"text"``, or a hook name such as
        ``"text.hook_proj"``.

    Raises
    ------
    UserError
        If the SAE was folded for the other modality.
    """
    folded: Modality | None = sae.cfg.metadata.folded_modality
    if not folded:
        return
    other = other_modality(folded)
    where = hook_name_or_modality
    if where != other and not where.startswith(f"{TOWERS[other]}."):
        return
    raise UserError(
        f"This SAE was folded for {folded} activations, so it cannot be used on {other} ones "
        f"({where!r}): fold the SAE that it was made from for the other modality "
        f"(fold_normalization(…, {other!r}))."
    )


def refuse_transcoder(sae: SAE[Any]) -> None:
    """Raise ``UserError`` for a transcoder: what it writes belongs elsewhere than what it reads."""
    metadata = sae.cfg.metadata
    if metadata.hook_name_out and metadata.hook_name_out != metadata.hook_name:
        raise UserError(
            f"This is a transcoder from {metadata.hook_name!r} to {metadata.hook_name_out!r}: only "
            "an SAE, which reads and writes at one hook, can be spliced in or edited there."
        )


def _check_weights(metadata: Any, other: Any, kind: str) -> None:
    trained_on, given = list(_weights_ids(metadata)), list(_weights_ids(other))
    if not trained_on or not given or trained_on[0] == given[0]:
        return
    name = _of(other, "model_name")
    if not {*trained_on} & {*given}:
        raise UserError(
            f"The SAE was trained on {_encoder(metadata.model_name, trained_on[0])}, but {kind} "
            f"{_encoder(name, given[0])}: use the encoder it was trained on, or train an SAE for "
            "this one."
        )
    warnings.warn(
        f"The SAE and {name or 'the encoder'} agree in the weights; an earlier version of this "
        "package noted nothing else, so see to it yourself that image transform, tokenizer and "
        "activation function are those of the training.",
        UserWarning,
        stacklevel=3,
    )


def _check_preparations(metadata: Any, other: Any) -> None:
    for name, words in _PREPARATIONS.items():
        trained_with, given = metadata[name], _of(other, name)
        if trained_with and given and trained_with != given:
            raise UserError(
                f"The SAE was trained with the {words} {trained_with}, but the {words} here is "
                f"{given}: give the encoder the {words} of the training, or train an SAE for this "
                "one."
            )


def _check_hooks(metadata: Any, manifest: Any) -> None:
    for modality in MODALITIES:
        trained_at = metadata[f"hook_name_{modality}"]
        stored_at = getattr(manifest, f"{modality}_hook", None)
        if trained_at and stored_at and trained_at != stored_at:
            raise UserError(
                f"The SAE was trained at {trained_at!r}, but the store holds {stored_at!r} of the "
                f"same model: extract activations at {trained_at!r}."
            )


def _check_width(d_in: int, manifest: Any) -> None:
    width = getattr(manifest, "d_image", None) or getattr(manifest, "d_text", None)
    if width and width != d_in:
        raise UserError(
            f"The SAE takes vectors of width {d_in}, but the store's are {width} wide: "
            "use activations of the encoder and hook it was trained on."
        )


def _weights_ids(described: Any) -> Iterator[str]:
    """Yield the names that something gives its encoder's weights, the present version's first."""
    for name in ("weights_id", "legacy_weights_id"):
        value = _of(described, name)
        if value:
            yield value


def _of(described: Any, name: str) -> Any:
    """Return what a manifest, a model, or a model's config says; metadata answers None itself."""
    value = getattr(described, name, None)
    return getattr(getattr(described, "cfg", None), name, None) if value is None else value


def _encoder(model_name: str | None, weights_id: str) -> str:
    return f"{model_name} ({weights_id})" if model_name else weights_id
