"""Block caches of diffusers, which hand on what a block returned at an earlier step."""

from __future__ import annotations

from collections import Counter

from torch import nn

from mm_sae_plugin.errors import UserError

# How the names begin under which diffusers keeps a cache's hooks in a module's registry.
_CACHES = {
    "fbc_": "FirstBlockCache",
    "faster_cache_": "FasterCache",
    "mag_cache_": "MagCache",
    "sea_cache_": "SeaCache",
    "pyramid_attention_broadcast": "PyramidAttentionBroadcast",
    "taylorseer_cache": "TaylorSeerCache",
    "text_kv_cache_": "TextKVCache",
}


def refuse_caches(denoiser: nn.Module) -> None:
    """Raise ``UserError`` where a cache may skip parts of a denoiser that an edit must pass.

    They are known by the hooks that diffusers keeps in ``_diffusers_hook`` of each module; what
    other libraries do to a denoiser is not seen.
    """
    n_hooked: Counter[str] = Counter()
    modules = list(denoiser.modules())
    for module in modules:
        registry = getattr(module, "_diffusers_hook", None)
        names = getattr(registry, "hooks", ())
        n_hooked.update(
            {cache for start, cache in _CACHES.items() for name in names if name.startswith(start)}
        )
    if not n_hooked:
        return
    cache, n = n_hooked.most_common(1)[0]
    raise UserError(
        f"{cache} hangs on {n} of the {len(modules)} modules of {type(denoiser).__name__} and "
        "hands on what they returned at an earlier step, so an edit would be missed there: take it "
        "off first, disable_cache()."
    )
