"""`Explorer`: a study's latents in a table, by search, and one by one."""

import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.applications.explorer.build import build
from mm_sae_plugin.applications.explorer.cache import Cache, cache_key
from mm_sae_plugin.applications.explorer.given import one_latent
from mm_sae_plugin.applications.explorer.naming import NameAccuracy
from mm_sae_plugin.applications.explorer.page import LatentPage, latent_page
from mm_sae_plugin.applications.explorer.table import latent_table
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.study import Study

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image


class Explorer:
    """Looks up latents; safe to share between threads. Make one with :meth:`open`."""

    def __init__(self, study: Study, cache: Cache) -> None:
        self.study = study
        self._cache = cache

    @classmethod
    def open(cls, study: Study, progress: bool = False) -> "Explorer":
        """Read what is kept beside the SAE, or make it in one pass over the store.

        It is kept in `explorer.safetensors` in the SAE's folder, and made anew where the store,
        the SAE or its labels are others. Where nothing can be written, it is made each time.

        Parameters
        ----------
        study : Study
            Labelled.
        progress : bool
            Show a progress bar.

        Raises
        ------
        UserError
            If the store is gone or holds one modality alone, or the SAE was never labelled.
        """
        if not isinstance(study, Study):
            raise UserError(f"Give a Study, Study.open(folder), not {kind_of(study)}.")
        cache = Cache.load(study.path, cache_key(study))
        if cache is None:
            cache = build(study, progress)
            try:
                cache.save(study.path)
            except UserError as error:
                warnings.warn(f"What was found is not kept: {error}", stacklevel=2)
        return cls(study, cache)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row per latent, in their order.

        Columns: `latent`, `class`, `mds` (the score that was classified), `carried` and
        `mean_of_ratios` (the paper's) among all scores, each with `_low` and `_high`,
        `class_paper`, `rate_image` and `rate_text`, `n_active_images`, `partner`, `concept`,
        `by_association`, `associated_with`; on FactorWorld's stores only `nearest` and `eta2`, the
        factor that explains most of it and how much of it; `name`, what it may be called,
        `named_by` (`captions`, `images` or empty), `raised_by` and `raised_at_least` (by how much
        captions that hold the name raise it, and the lower end of that, as a share of its typical
        code), `cosine` (of the name's embedding with that of its top images). Where labels are not
        of `carried`, its columns are missing.
        """
        return latent_table(self.study.labels, self._cache.tensors, self._cache.record)

    @property
    def name_accuracy(self) -> NameAccuracy | None:
        """How many suggested names are right, on FactorWorld's stores; None on others."""
        found = self._cache.record.get("name_accuracy")
        return None if found is None else NameAccuracy(**found)

    def search(
        self,
        text: str | None = None,
        image: "Image | str | Path | None" = None,
        top: int = 20,
    ) -> "pd.DataFrame":
        """Return the latents that fire on a caption or a picture, strongest first.

        Parameters
        ----------
        text : str, optional
        image : PIL image or path, optional
            Exactly one of the two.
        top : int
            How many at most, at least 1.

        Returns
        -------
        DataFrame
            Rows of :attr:`table` with their `activation` as second column.

        Raises
        ------
        UserError
            If not exactly one is given, it is empty, of another kind or no picture, or `top` is no
            such number.
        """
        active = self.study.latents_of(image=image, text=text, top=top)
        found = self.table.iloc[[entry.latent for entry in active]].reset_index(drop=True)
        found.insert(1, "activation", [entry.activation for entry in active])
        return found

    def page(self, latent: int) -> LatentPage:
        """Everything about one latent; nothing is scanned or encoded.

        Raises
        ------
        UserError
            If there is no such latent.
        """
        latent = one_latent(self.study, latent)
        row: dict[str, Any] = {
            str(name): _plain(value) for name, value in self.table.iloc[latent].items()
        }
        return latent_page(self.study, self._cache.tensors, row, latent)


def _plain(value: Any) -> Any:
    """A number of Python's own; None for what is missing."""
    import pandas as pd

    if value is pd.NA or value is None:
        return None
    return value.item() if hasattr(value, "item") else value
