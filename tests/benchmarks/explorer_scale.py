"""The explorer on a large dictionary: memory, and the time of a page.

Random activations behind the manifest of a real store and an untrained SAE: what they mean does not
matter, only how much there is. Run ``python -m tests.benchmarks.explorer_scale``.
"""

import argparse
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import numpy as np
import torch

from mm_sae_plugin import ModalityDominance, Study, compute_modality
from mm_sae_plugin.activations import ActivationStore
from mm_sae_plugin.applications.explorer import Explorer
from mm_sae_plugin.stats.interfaces import PairedActivations


class RandomStore:
    """Pairs drawn anew each time they are read; nothing lies on a disk."""

    def __init__(self, manifest, n_pairs: int, d: int) -> None:
        self.manifest, self._n, self._d = manifest, n_pairs, d
        self.path = Path("random")
        self.image_index = torch.arange(n_pairs)
        self.image_ids = [str(i) for i in range(n_pairs)]
        rng = np.random.default_rng(0)
        # Words as common as in a language: the n-th one n times as rare as the first.
        words = (rng.zipf(1.3, (n_pairs, 10)) % 20_000).astype(str)
        self.captions = [" ".join(row) for row in words]
        self.labels: dict[str, list[str]] = {}
        self.means = {side: torch.zeros(d, dtype=torch.float64) for side in ("image", "text")}

    def image_rows(self):
        return torch.cat([image for image, _, _ in self.iter_pairs(4096)])

    def text_rows(self):
        return torch.cat([text for _, text, _ in self.iter_pairs(4096)])

    def iter_pairs(self, chunk: int):
        for start in range(0, self._n, chunk):
            rows = torch.arange(start, min(start + chunk, self._n))
            yield *_drawn(rows, self._d), rows

    def open_image(self, row: int):
        return None


def _drawn(rows: torch.Tensor, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors of both sides that share a part, the same for a row wherever it is read."""
    generator = torch.Generator()
    blocks = []
    for block in (rows // 256).unique().tolist():
        generator.manual_seed(block)
        blocks.append(torch.randn(256, 3, d, generator=generator))
    drawn = torch.cat(blocks)[rows - int(rows[0]) // 256 * 256]
    sides = (drawn[:, 0] + drawn[:, i] for i in (1, 2))
    image, text = (torch.nn.functional.normalize(side, dim=1) for side in sides)
    return image, text


def main() -> None:
    """Build, open and look up; print seconds and the largest memory of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sae", type=Path, required=True, help="any SAE folder with its store")
    parser.add_argument("--d-sae", type=int, default=16_384)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(1)
    template = Study.open(given.sae)
    sae, d = _sae(template, given.d_sae, given.k), template.sae.cfg.d_in
    store = RandomStore(template.store.manifest, given.pairs, d)
    with tempfile.TemporaryDirectory() as folder:
        sae.save_model(folder)
        study = Study.open(folder)
        study._store = cast(ActivationStore, store)
        # In a process of its own: what the explorer takes is measured by itself.
        labelling = get_context("fork").Process(target=_label, args=(study,))
        labelling.start()
        labelling.join()
        for what in ("made", "read back"):
            started = time.perf_counter()
            explorer = Explorer.open(study)
            n_latents = len(explorer.table)
            took = time.perf_counter() - started
            print(f"{what}: {took:.1f} s ({n_latents:,} latents), {_peak():.2f} GB at most so far")
        seconds = []
        for latent in np.linspace(0, given.d_sae - 1, 50).astype(int).tolist():
            started = time.perf_counter()
            explorer.page(latent)
            seconds.append(time.perf_counter() - started)
        size = (Path(folder) / "explorer.safetensors").stat().st_size / 1e6
        print(f"page: {np.median(seconds):.3f} s, {max(seconds):.3f} s at most; file {size:.0f} MB")
        print(f"memory: {_peak():.2f} GB at most")


def _label(study: Study) -> None:
    stats = compute_modality(study.feature_map, cast(PairedActivations, study.store))
    labels = ModalityDominance.from_statistics(stats).from_store(study.store.manifest.key)
    labels.save(study.path)


def _sae(template: Study, d_sae: int, k: int):
    from sae_lens import TopKSAE, TopKSAEConfig

    torch.manual_seed(0)
    cfg = TopKSAEConfig(d_in=template.sae.cfg.d_in, d_sae=d_sae, k=k)
    cfg.metadata = template.sae.cfg.metadata
    sae = TopKSAE(cfg)
    sae.W_dec.data = torch.nn.functional.normalize(torch.randn_like(sae.W_dec), dim=1)
    sae.W_enc.data = sae.W_dec.data.T.contiguous()
    return sae


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
