"""`Study`: an SAE folder, its store, its encoder and its labels, opened once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from mm_sae_plugin.activations import ActivationStore, ExtractConfig
from mm_sae_plugin.activations.capture import HookReader
from mm_sae_plugin.devices import checked_device
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.modality import Modality
from mm_sae_plugin.pairs.images import BadImage, ImageReader
from mm_sae_plugin.saes.encoder_check import check_encoder
from mm_sae_plugin.saes.folder import load_sae
from mm_sae_plugin.stats import ModalityConfig, ModalityDominance
from mm_sae_plugin.stats.labelling import Findings, inspect_store, label_store

if TYPE_CHECKING:
    from PIL.Image import Image
    from sae_lens import SAE

    from mm_sae_plugin.engines import Engine
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


class Study:
    """What belongs together, checked against each other; each part is opened when first asked for.

    Safe to share between threads that only read. Make one with :meth:`open`.
    """

    def __init__(
        self,
        path: Path,
        feature_map: SAEFeatureMap,
        device: str,
        store: ActivationStore | None,
        model: HookedCLIP | None,
    ) -> None:
        self.path = path
        self.feature_map = feature_map
        self.device = device
        self._store = store
        self._model = model
        # Parts are opened once, and hooks are state of the model.
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        sae_dir: str | Path,
        store: ActivationStore | str | Path | None = None,
        model: HookedCLIP | None = None,
        device: str = "cpu",
    ) -> Study:
        """Open an SAE folder.

        Parameters
        ----------
        sae_dir : str or Path
            What a training wrote, or an SAE folder of SAELens' own.
        store : ActivationStore or path, optional
            The activations to look at it with; by default those that it was trained on, where they
            still lie.
        model : HookedCLIP, optional
            The encoder; by default loaded by the name and weights that the folder gives.
        device : str
            Where the SAE and the encoder run.

        Raises
        ------
        UserError
            If an argument is of another kind, the folder holds no SAE, or store or model are of
            another encoder or other hooks; both sides are named.
        """
        checked_device(device)
        if not isinstance(sae_dir, str | os.PathLike):
            raise UserError(f"sae_dir must be the folder of an SAE, not {kind_of(sae_dir)}.")
        if isinstance(model, str | os.PathLike):
            raise UserError(
                f"model must be a loaded encoder, not {kind_of(model)}: give "
                f"load_model({str(model)!r}), or leave it out."
            )
        if model is not None and not hasattr(model, "hook_dict"):
            raise UserError(f"model must be a HookedCLIP, not {kind_of(model)}: leave it out.")
        sae, normalization = load_sae(sae_dir, device)
        if isinstance(store, str | os.PathLike):
            store = ActivationStore.open(store)
        if not isinstance(store, ActivationStore | None):
            raise UserError(
                f"store must be an ActivationStore or its folder, not {kind_of(store)}: leave it "
                "out to take the one that the SAE was trained on."
            )
        for other in (store, model):
            if other is not None:
                check_encoder(sae, other)
        return cls(Path(sae_dir), SAEFeatureMap(sae, normalization), device, store, model)

    # ------------------------------------------------------------------ what belongs together

    @property
    def sae(self) -> SAE[Any]:
        """The SAE, in evaluation mode."""
        return self.feature_map.sae

    @property
    def store(self) -> ActivationStore:
        """The activations.

        Raises
        ------
        UserError
            If none were given and those of the training are gone.
        """
        with self._lock:
            if self._store is None:
                self._store = self._find_store()
            return self._store

    @property
    def model(self) -> HookedCLIP:
        """The encoder.

        Raises
        ------
        UserError
            If none was given and the folder does not say enough to load it.
        """
        with self._lock:
            if self._model is None:
                self._model = self._find_model()
            return self._model

    @cached_property
    def labels(self) -> ModalityDominance:
        """Scores and classes, as saved in the folder.

        Raises
        ------
        UserError
            If the SAE was never labelled, or was labelled with another store than the one given.
        """
        labels = ModalityDominance.load(self.path)
        if labels.n_features != self.feature_map.n_features:
            raise UserError(
                f"The labels in {self.path} are of {labels.n_features} latents and its SAE has "
                f"{self.feature_map.n_features}: run `mm-sae mds` on it again."
            )
        if self._store is not None:
            self._check_labels(labels, self._store)
        return labels

    def label(
        self,
        cfg: ModalityConfig | None = None,
        engine: Engine | None = None,
        progress: bool = False,
    ) -> Findings:
        """Score and classify every latent, and write the labels into the folder."""
        findings = label_store(self.feature_map, self.store, cfg, engine, progress)
        findings.dominance.save(self.path)
        self.__dict__["labels"] = findings.dominance
        return findings

    def inspect(self, engine: Engine | None = None, progress: bool = False) -> Findings:
        """Look at the store again with the labels as they are."""
        # The store first: labels of another one are then refused before the pass.
        store = self.store
        self._check_labels(self.labels, store)
        return inspect_store(self.feature_map, store, self.labels, engine, progress)

    # ------------------------------------------------------------------ asking it

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
        images = None if images is None else _pictures(images)
        texts = None if texts is None else _captions(texts)
        if not images and not texts:
            raise UserError("Nothing to encode: give images=[…], texts=[…] or both.")
        hooks = self._hooks(texts is not None)
        with self._lock, HookReader(self.model, hooks).attached() as reader:
            pixels = self.model.to_pixels(images) if images else None
            image = None if pixels is None else self._encoded(pixels, reader.images, "image")
            text = self._encoded(texts, reader.texts, "text") if texts else None
        return image, text

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
            If not exactly one of the two is given, it is of another kind or no picture, or `top` is
            no such number.
        """
        if not isinstance(top, Integral) or isinstance(top, bool) or top < 1:
            raise UserError(f"top must be a whole number, at least 1, not {top!r:.80}.")
        if (image is None) == (text is None):
            raise UserError("Give one picture (image=…) or one caption (text=…).")
        of_image, of_text = self.codes(
            None if image is None else [image], None if text is None else [text]
        )
        codes = of_image if of_text is None else of_text
        assert codes is not None
        values, latents = codes[0].topk(min(top, codes.shape[1]))
        labels = self.labels
        return [
            ActiveLatent(latent, value, labels.classes[latent], float(labels.scores[latent]))
            for latent, value in zip(latents.tolist(), values.tolist(), strict=True)
            if value > 0
        ]

    def _hooks(self, with_texts: bool) -> ExtractConfig:
        metadata = self.sae.cfg.metadata
        image_hook = metadata.hook_name_image or metadata.hook_name
        if not image_hook:
            raise UserError(
                f"{self.path} does not say which hook its SAE was trained at: encode activations "
                "with study.feature_map."
            )
        if with_texts and not metadata.hook_name_text:
            raise UserError(f"The SAE in {self.path} was trained on images alone: leave texts out.")
        return ExtractConfig(image_hook=image_hook, text_hook=metadata.hook_name_text)

    def _encoded(self, inputs: Any, read: Any, modality: Modality) -> Tensor:
        acts = read(inputs).to(self.device, self.sae.W_dec.dtype)
        return self.feature_map.encode(acts, modality).detach().cpu()

    # ------------------------------------------------------------------ finding the parts

    def _find_store(self) -> ActivationStore:
        metadata = self.sae.cfg.metadata
        noted = metadata.store_path
        # Noted relative to the SAE folder, so that both can be moved together.
        path = None if noted is None else (self.path / noted)
        if path is None or not path.is_dir():
            where = f"{path} is gone" if path is not None else "its folder does not say where"
            raise UserError(
                f"The activation store of {self.path} was not found ({where}): give it, "
                "store=… in Python, --acts on the command line."
            )
        store = ActivationStore.open(path)
        check_encoder(self.sae, store)
        if metadata.store_key and metadata.store_key != store.manifest.key:
            raise UserError(
                f"The SAE in {self.path} was trained on the store {metadata.store_key[:12]}, but "
                f"{path} is the store {store.manifest.key[:12]} now: give one on purpose, "
                "store=… in Python, --acts on the command line."
            )
        return store

    def _find_model(self) -> HookedCLIP:
        from mm_sae_plugin.models import load_model

        metadata = self.sae.cfg.metadata
        name, weights_id = metadata.model_name, str(metadata.weights_id or "")
        if not name:
            raise UserError(
                f"{self.path} does not say which encoder its SAE was trained on: give model=…."
            )
        published = weights_id.removeprefix("open_clip:") if "open_clip:" in weights_id else ""
        tag = published.rpartition("/")[2] or None
        try:
            model = load_model(name, tag, device=self.device)
        except UserError as error:
            raise UserError(
                f"The encoder of {self.path}, {name} ({weights_id}), cannot be loaded by its name "
                f"({error}): load it yourself and give model=…."
            ) from error
        check_encoder(self.sae, model)
        return model

    def _check_labels(self, labels: ModalityDominance, store: ActivationStore) -> None:
        key = store.manifest.key
        n_pairs = labels.statistics.n_pairs
        # Labels of older versions name no store, but its size they know.
        same = labels.store_key == key if labels.store_key else n_pairs == store.manifest.n_pairs
        if same:
            return
        of = f"the store {labels.store_key[:12]}" if labels.store_key else f"{n_pairs:,} pairs"
        raise UserError(
            f"The labels in {self.path} were computed on {of}, but {store.path} is the store "
            f"{key[:12]} with {store.manifest.n_pairs:,} pairs: give the store that `mm-sae mds` "
            "used, or run `mm-sae mds` again with this one."
        )


def _pictures(images: Any) -> list[Image]:
    from PIL.Image import Image

    if isinstance(images, str | os.PathLike | Image):
        raise UserError(
            f"images must be several pictures, not {kind_of(images)}: give one as images=[…]."
        )
    # A tensor or an array holds pixels, not pictures.
    if not isinstance(images, Iterable) or hasattr(images, "shape"):
        raise UserError(
            f"images must be a list of PIL images or of paths, not {kind_of(images)}: encode "
            "ready pixels with study.model, and its activations with study.feature_map."
        )
    return [_picture(image) for image in images]


def _picture(image: Any) -> Image:
    from PIL.Image import Image

    if isinstance(image, Image):
        return image
    if not isinstance(image, str | os.PathLike):
        raise UserError(f"A picture must be a PIL image or a path, not {kind_of(image)}.")
    try:
        return ImageReader().read(Path(image)).image
    except BadImage as error:
        raise UserError(f"{image} cannot be used: {error}.") from error


def _captions(texts: Any) -> list[str]:
    captions = [texts] if isinstance(texts, str) else texts
    if not isinstance(captions, Iterable):
        raise UserError(f"texts must be a list of captions, not {kind_of(texts)}.")
    captions = list(captions)
    for caption in captions:
        if not isinstance(caption, str):
            raise UserError(
                f"texts must hold strings, not {kind_of(caption)}: give pictures as images=[…]."
            )
    return captions
