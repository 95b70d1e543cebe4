"""Image transforms of open_clip models, and where they come from when weights are a file."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.files import parse_json

_DEFAULTS = {
    # What open_clip takes where a tag says nothing.
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
_CHOICES = {
    "interpolation": ("bicubic", "bilinear"),
    "resize_mode": ("shortest", "longest", "squash"),
}


def open_clip_transform(clip: Any, settings: Mapping[str, Any] | None = None) -> Any:
    """Return the transform that open_clip noted on a model, with some settings replaced."""
    from open_clip.model import get_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    own = get_model_preprocess_cfg(clip)
    return image_transform_v2(PreprocessCfg(**{**own, **(settings or {})}), is_train=False)


def agreed_transform(name: str, clip: Any) -> Any:
    """Return the transform that all published weights of a model's name agree on.

    A checkpoint in a file does not say how pictures must be prepared for it. Where the published
    weights differ, or there are none, the model's own transform is taken with a warning.
    """
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    by_tag = {
        tag: _settings(get_pretrained_cfg(name, tag)) for tag in list_pretrained_tags_by_model(name)
    }
    kinds = list({repr(settings): settings for settings in by_tag.values()}.values())
    if len(kinds) == 1:
        return open_clip_transform(clip, kinds[0])
    why = "are none that would tell"
    how = "a JSON file with mean, std, interpolation and resize_mode"
    if kinds:
        one_each = [next(t for t, s in by_tag.items() if s == kind) for kind in kinds]
        why = f"differ in it ({', '.join(one_each[:3])})"
        how += f", or a published tag such as {name}/{one_each[0]}"
    warnings.warn(
        f"The image transform of this file is a guess, open_clip's default: published weights of "
        f"{name} {why}. Give the right one with preprocess: {how}.",
        stacklevel=2,
    )
    return open_clip_transform(clip)


def chosen_transform(choice: str, clip: Any) -> Any:
    """Return the transform that a user chose.

    Parameters
    ----------
    choice
        A JSON file with some of ``mean``, ``std``, ``interpolation`` and ``resize_mode``, alone or
        as the ``preprocess_cfg`` of an ``open_clip_config.json``; or a published tag with its
        model, ``"ViT-B-16-SigLIP/webli"``.
    clip
        The open_clip model that it is for.

    Raises
    ------
    UserError
        If there is no such file or tag, or the file says something else.
    """
    from open_clip.pretrained import get_pretrained_cfg

    name, _, tag = choice.rpartition("/")
    published = get_pretrained_cfg(name, tag) if name and not Path(choice).exists() else None
    if published:
        return open_clip_transform(clip, _settings(published))
    try:
        content = parse_json(Path(choice).read_text(encoding="utf-8-sig"))
        settings = _checked(content.get("preprocess_cfg", content))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{choice} does not describe an image transform ({error}): give a JSON file with "
            f"{', '.join(_DEFAULTS)}, as open_clip_config.json has in preprocess_cfg, or a "
            "published tag such as ViT-B-16-SigLIP/webli."
        ) from error
    return open_clip_transform(clip, settings)


def _settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a tag says of its transform, with open_clip's defaults for the rest."""
    found = {key: cfg.get(key) or default for key, default in _DEFAULTS.items()}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}


def _checked(content: Mapping[str, Any]) -> dict[str, Any]:
    settings = {key: content[key] for key in _DEFAULTS if content.get(key) is not None}
    if not settings:
        raise ValueError(f"its keys are {', '.join(sorted(content))}")
    for key in {"mean", "std"} & set(settings):
        values = [float(value) for value in settings[key]]
        if len(values) != 3 or (key == "std" and min(values) <= 0):
            raise ValueError(f"{key} is {settings[key]}, not three numbers that make sense")
        settings[key] = tuple(values)
    for key, choices in _CHOICES.items():
        if settings.get(key, choices[0]) not in choices:
            raise ValueError(f"{key} is {settings[key]!r}, not one of {', '.join(choices)}")
    return settings
