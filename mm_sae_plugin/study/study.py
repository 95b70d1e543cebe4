"""`Study`: an SAE folder, its store, its encoder and its labels, opened once."""

from __future__ import annotations

import os
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.activations import ActivationStore
from mm_sae_plugin.devices import checked_device
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.features.sae import SAEFeatureMap
from mm_sae_plugin.files import refuse_unwritable
from mm_sae_plugin.saes.encoder_check import check_encoder
from mm_sae_plugin.saes.folder import load_sae
from mm_sae_plugin.saes.folder_files import LABELS
from mm_sae_plugin.stats import ModalityConfig, ModalityDominance
from mm_sae_plugin.stats.labelling import Findings, inspect_store, label_store
from mm_sae_plugin.study.asking import Asking

if TYPE_CHECKING:
    from sae_lens import SAE

    from mm_sae_plugin.engines import Engine
    from mm_sae_plugin.models import HookedCLIP


class Study(Asking):
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
        """Score and classify every latent, and write the labels into the folder.

        Raises
        ------
        UserError
            If the folder cannot be written, before the pass.
        """
        refuse_unwritable(*(self.path / name for name in LABELS))
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

    @cached_property
    def sae_id(self) -> str:
        """Hash of the SAE's weights, `sha256:` and 16 digits: what an edit of it names."""
        from mm_sae_plugin.models.weights import identify_weights

        return identify_weights(self.sae).current

    @property
    def weights_id(self) -> str:
        """Which encoder the SAE was trained on; empty where its folder does not say."""
        return str(self.sae.cfg.metadata.weights_id or "")

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
        name, weights_id = metadata.model_name, self.weights_id
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
