"""Which dictionaries a sweep trains."""

from dataclasses import dataclass
from itertools import product

from mm_sae_plugin.applications.label_truth.config import SMALL, SMALL_K, VARIED, K, SweepConfig

MODELS = ("factorworld", "factorworld-declip")
ARCHITECTURES = ("topk", "batchtopk", "jumprelu", "matryoshka_batchtopk")
_OTHER_K = (8, 32)
# From here on the same SAE is trained several times as fast by sums over active latents alone.
_LARGE = 4096
_LARGE_AS = {"topk": "sparse_topk", "batchtopk": "sparse_batchtopk"}


@dataclass(frozen=True)
class Cell:
    """One dictionary of a sweep."""

    model: str
    """The embedded model whose activations it is trained on."""
    architecture: str
    """How it is trained."""
    d_sae: int
    """Its latents."""
    k: int
    """How many of them are active, exactly or on average."""
    seed: int
    """Of its weights and of the order of the pairs."""

    @property
    def name(self) -> str:
        """A name for files and people."""
        return f"{self.model} {self.architecture} {self.d_sae} k{self.k} seed{self.seed}"

    @property
    def is_usual_topk(self) -> bool:
        """Whether it is a TopK SAE with the sweep's own number of active latents."""
        return self.architecture in ("topk", _LARGE_AS["topk"]) and self.k == usual_k(self.d_sae)


def usual_k(d_sae: int) -> int:
    """Active latents of a dictionary where k is not what is varied."""
    return SMALL_K if d_sae <= SMALL else K


def grid(cfg: SweepConfig) -> list[Cell]:
    """Every cell of a sweep once, the largest first: they take longest, and none ends alone."""
    first = cfg.seeds[0]
    cells = [_cell(MODELS[0], "topk", *at) for at in product(cfg.sizes, cfg.seeds)]
    if VARIED in cfg.sizes:
        cells += [Cell(MODELS[0], "topk", VARIED, k, first) for k in _OTHER_K]
        cells += [_cell(MODELS[0], name, VARIED, first) for name in ARCHITECTURES[1:]]
        cells.append(_cell(MODELS[1], "topk", VARIED, first))
    if cfg.full:
        axes = product(MODELS, ARCHITECTURES, cfg.sizes, cfg.seeds)
        cells += [_cell(*at) for at in axes]
    return sorted(dict.fromkeys(cells), key=lambda cell: -cell.d_sae)


def _cell(model: str, architecture: str, d_sae: int, seed: int) -> Cell:
    if d_sae >= _LARGE:
        architecture = _LARGE_AS.get(architecture, architecture)
    return Cell(model, architecture, d_sae, usual_k(d_sae), seed)
