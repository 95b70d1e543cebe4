"""The one private name that is taken from SAELens, in one place."""

from importlib.metadata import version

try:
    from sae_lens.analysis.hooked_sae_transformer import _SAEWrapper as SAEWrapper
except ImportError as error:
    raise ImportError(
        f"SAELens {version('sae-lens')} no longer has hooked_sae_transformer._SAEWrapper, which "
        "splices SAEs into models: install a version of sae-lens that pyproject.toml names."
    ) from error

__all__ = ["SAEWrapper"]
