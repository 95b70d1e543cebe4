"""Whether a pipeline is guiding at the moment, so that its batches are doubled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mm_sae_plugin.interventions.pipelines.watching import watch

_NAME = "do_classifier_free_guidance"


class Guidance:
    """Classifier-free guidance of one pipeline, asked while it runs.

    Most pipelines say so themselves. Two old ones (image variation, Stable unCLIP) only tell their
    own ``_encode_image``, so that is read along with.

    Parameters
    ----------
    decoder
        The pipeline that denoises.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._says_so = hasattr(type(decoder), _NAME)
        self._told = False

    @property
    def is_on(self) -> bool:
        """Whether the batch is doubled, unconditional half first."""
        return bool(getattr(self._decoder, _NAME)) if self._says_so else self._told

    def attach(self) -> Callable[[], None]:
        """Read along until the returned function is called."""
        if self._says_so:
            return lambda: None
        return watch(self._decoder, "_encode_image", self._note)

    def _note(self, arguments: Mapping[str, Any]) -> None:
        self._told = bool(arguments[_NAME])
