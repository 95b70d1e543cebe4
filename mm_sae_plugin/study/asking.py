"""Questions that a study answers about one picture and one caption."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.activations import ExtractConfig
from mm_sae_plugin.activations.capture import HookReader
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.features.similarity import Comparison, compared, without
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.models.hook_names import JOINT_SITES
from mm_sae_plugin.stats import ModalityDominance
from mm_sae_plugin.study.given import captions_of, checked_latents, pictures, refuse_empty

if TYPE_CHECKING:
    from PIL.Image import Image
    from sae_lens import SAE

    from mm_sae_plugin.models import HookedCLIP


@dataclass(frozen=True)
class ActiveLatent:
    """A latent that fires on something."""

    latent: int
    """Its index."""
    activation: float
    """Its code, above 0."""
    modality_class: str
    """`ImgD`, `TextD`, `CrossD`, `Undetermined` or `Dead`."""
    score: float
    """Its modality score: 0 all text, 1 all image; NaN where nothing can be said."""
    partner: int | None
    """The latent that fires for the same thing on the other side, if there is one."""


class Asking:
    """The part of a :class:`Study` that encodes what it is given by hand."""

    path: Path
    feature_map: SAEFeatureMap
    device: str
    _lock: threading.RLock  # pyright: ignore[reportGeneralTypeIssues]

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Hold it while the encoder runs: hooks are state of the model."""
        return self._lock

    @property
    def sae(self) -> SAE[Any]:
        """The SAE."""
        raise NotImplementedError

    @property
    def model(self) -> HookedCLIP:
        """The encoder."""
        raise NotImplementedError

    @property
    def labels(self) -> ModalityDominance:
        """Scores and classes."""
        raise NotImplementedError

    def codes(
        self,
        images: Sequence[Image | str | Path] | None = None,
        texts: Sequence[str] | str | None = None,
    ) -> tuple[Float[Tensor, "n_images d_sae"] | None, Float[Tensor, "n_texts d_sae"] | None]:
        """Encode pictures and captions into the SAE's latents.

        Parameters
        ----------
        images : sequence of PIL images or of paths, optional
        texts : sequence of str, or str, optional
            Captions, or one.

        Returns
        -------
        tuple
            Codes >= 0 of the images and of the texts on the CPU; None for what was not given.

        Raises
        ------
        UserError
            If neither is given, one is of another kind, a file is no picture, or the SAE was
            trained without the modality.
        """
        acts_image, acts_text = self.acts(images, texts)
        return self._encoded(acts_image, "image"), self._encoded(acts_text, "text")

    def acts(
        self,
        images: Sequence[Image | str | Path] | None = None,
        texts: Sequence[str] | str | None = None,
    ) -> tuple[Float[Tensor, "n_images d_image"] | None, Float[Tensor, "n_texts d_text"] | None]:
        """Run the encoder and return raw activations at the SAE's hooks, one row each, on the CPU.

        The parameters and errors are those of :meth:`codes`.
        """
        given = None if images is None else pictures(images)
        captions = None if texts is None else captions_of(texts)
        if not given and not captions:
            raise UserError("Nothing to encode: give images=[…], texts=[…] or both.")
        hooks = self._hooks(captions is not None)
        with self.lock, HookReader(self.model, hooks).attached() as reader:
            pixels = self.model.to_pixels(given) if given else None
            acts_image = None if pixels is None else reader.images(pixels)[0]
            (acts_text,) = reader.texts(captions).values() if captions else (None,)
        return self._as_given(acts_image), self._as_given(acts_text)

    def latents_of(
        self, image: Image | str | Path | None = None, text: str | None = None, top: int = 5
    ) -> list[ActiveLatent]:
        """Return the latents that fire on one picture or one caption, strongest first.

        Parameters
        ----------
        image : PIL image or path, optional
        text : str, optional
        top : int
            How many at most, at least 1.

        Raises
        ------
        UserError
            If not exactly one of the two is given, it is empty, of another kind or no picture, or
            `top` is no such number.
        """
        if not isinstance(top, Integral) or isinstance(top, bool) or top < 1:
            raise UserError(f"top must be a whole number, at least 1, not {top!r:.80}.")
        if (image is None) == (text is None):
            raise UserError("Give one picture (image=…) or one caption (text=…).")
        refuse_empty(text)
        of_image, of_text = self.codes(
            None if image is None else [image], None if text is None else [text]
        )
        codes = of_image if of_text is None else of_text
        assert codes is not None
        values, latents = codes[0].topk(min(top, codes.shape[1]))
        labels = self.labels
        return [
            ActiveLatent(
                latent,
                value,
                labels.classes[latent],
                float(labels.scores[latent]),
                labels.partner_of(latent),
            )
            for latent, value in zip(latents.tolist(), values.tolist(), strict=True)
            if value > 0
        ]

    def compare(self, image: Image | str | Path, text: str) -> Comparison:
        """Split the cosine similarity of a picture and a caption into contributions of latents.

        Each side's latents, the decoder's bias and what the SAE does not reconstruct add up to the
        similarity, exact to 1e-6.

        Parameters
        ----------
        image : PIL image or path
        text : str

        Raises
        ------
        UserError
            If one is empty, of another kind or no picture, or the SAE is not in the joint space.
        """
        return compared(self.feature_map, *self._joint_pair(image, text))

    def without(self, latents: int | Sequence[int], image: Image | str | Path, text: str) -> float:
        """Return the cosine similarity of a picture and a caption without some latents.

        They are ablated on both sides, and what is left is compared; see
        :func:`mm_sae_plugin.features.similarity.without`.

        Raises
        ------
        UserError
            As :meth:`compare`, and if there is no such latent.
        """
        chosen = checked_latents(latents, self.feature_map.n_features)
        return without(self.feature_map, chosen, *self._joint_pair(image, text))

    @property
    def hook_names(self) -> dict[Modality, str | None]:
        """Hooks that the SAE was trained at; None where it was not, or does not say."""
        metadata = self.sae.cfg.metadata
        image = metadata.hook_name_image or metadata.hook_name
        return {"image": image, "text": metadata.hook_name_text}

    def _hooks(self, with_texts: bool) -> ExtractConfig:
        image_hook, text_hook = self.hook_names["image"], self.hook_names["text"]
        if not image_hook:
            raise UserError(
                f"{self.path} does not say which hook its SAE was trained at: encode activations "
                "with study.feature_map."
            )
        if with_texts and not text_hook:
            raise UserError(f"The SAE in {self.path} was trained on images alone: leave texts out.")
        return ExtractConfig(image_hook=image_hook, text_hook=text_hook)

    def _as_given(self, acts: Tensor | None) -> Tensor | None:
        # Cloned out of inference mode, so that gradients may be taken of it.
        return None if acts is None else acts.clone().to("cpu", self.sae.W_dec.dtype)

    def _encoded(self, acts: Tensor | None, modality: Modality) -> Tensor | None:
        return None if acts is None else self.feature_map.encode(acts, modality).detach().cpu()

    def _joint_pair(self, image: Any, text: Any) -> tuple[Tensor, Tensor]:
        """Both embeddings, where the SAE sits in the space that they share."""
        refuse_empty(text)
        hooks = self._hooks(with_texts=True)
        for hook in (hooks.image_hook, hooks.text_hook or ""):
            if hook.rpartition(".")[2] not in JOINT_SITES:
                raise UserError(
                    f"The SAE in {self.path} sits at {hook!r}, where pictures and captions are not "
                    "in one space: only an SAE at hook_proj or hook_normalized splits a similarity."
                )
        acts_image, acts_text = self.acts([image], [text])
        assert acts_image is not None and acts_text is not None
        return acts_image[0], acts_text[0]
