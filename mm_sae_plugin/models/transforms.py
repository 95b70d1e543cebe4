"""Image transforms of open_clip models, and where they come from when weights are a file."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_sae_plugin.errors import UserError

_KEYS = ("mean", "std", "interpolation", "resize_mode")


def open_clip_transform(clip: Any, settings: Mapping[str, Any] | None = None) -> Any:
    """Return the transform that open_clip noted on a model, with some settings replaced."""
    from open_clip.model import get_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    own = get_model_preprocess_cfg(clip)
    return image_transform_v2(PreprocessCfg(**{**own, **(settings or {})}), is_train=False)


def published_transform(name: str, clip: Any) -> Any:
    """Return the transform that all published weights of a model's name agree on.

    A checkpoint in a file does not say how pictures must be prepared for it. Where the published
    weights differ, or there are none, the model's own transform is taken with a warning.
    """
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    tags = list_pretrained_tags_by_model(name)
    settings = {_frozen(get_pretrained_cfg(name, tag)) for tag in tags}
    if len(settings) == 1:
        return open_clip_transform(clip, dict(settings.pop()))
    why = "differ in" if settings else "are none that would tell"
    warnings.warn(
        f"Published weights of {name} {why} the image transform, so open_clip's default is a "
        "guess for this file: give the right one with preprocess, a JSON file with mean, std, "
        "interpolation and resize_mode.",
        stacklevel=5,
    )
    return open_clip_transform(clip)


def file_transform(path: str, clip: Any) -> Any:
    """Return the transform that a JSON file describes, alone or as its ``preprocess_cfg``.

    Raises
    ------
    UserError
        If the file cannot be read or says something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        content = content.get("preprocess_cfg", content)
        unknown = set(content) - {*_KEYS, "size", "mode", "fill_color"}
        if unknown or not set(content) & set(_KEYS):
            raise ValueError(f"its keys are {sorted(content)}")
        return open_clip_transform(clip, content)
    except (OSError, ValueError, AttributeError, TypeError, AssertionError) as error:
        raise UserError(
            f"{path} does not describe an image transform ({error}): give a JSON file with "
            f"{', '.join(_KEYS)}, as open_clip_config.json has in preprocess_cfg."
        ) from error


def _frozen(cfg: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    from open_clip.transform import PreprocessCfg

    default = PreprocessCfg()
    pairs = {key: cfg.get(key) or getattr(default, key) for key in _KEYS}
    return tuple((k, tuple(v) if isinstance(v, list | tuple) else v) for k, v in pairs.items())
