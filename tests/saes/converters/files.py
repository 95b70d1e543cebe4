"""Files as ViT-Prisma and saev write them, with random weights."""

import io
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

D_IN, D_SAE, K = 8, 32, 4
PRISMA_CONFIG = "vit_prisma.sae.config.VisionModelSAERunnerConfig"


def random_state(*further: str, d_in: int = D_IN, d_sae: int = D_SAE) -> dict[str, Tensor]:
    """Weights of which none is zero; encoder and decoder are independent of each other."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (d_in, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_in),
        "b_dec": (d_in,),
    }
    shapes |= {name: (d_sae,) for name in further}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def rows(n: int = 20, d_in: int = D_IN) -> Tensor:
    """Activations far from zero, so that every bias and mean counts."""
    return torch.randn(n, d_in, generator=torch.Generator().manual_seed(1)) * 3 + 1


def prisma_settings(**changes: Any) -> dict[str, Any]:
    """The fields of Prisma's config that its `config.json` holds, as its runner writes them."""
    settings = {
        "model_class_name": "HookedViT",
        "model_name": "open-clip:laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
        "vit_model_cfg": None,
        "hook_point_layer": 9,
        "layer_subtype": "hook_resid_post",
        "hook_point_head_index": None,
        "use_patches_only": False,
        "d_in": D_IN,
        "activation_fn_str": "relu",
        "activation_fn_kwargs": {},
        "cls_token_only": False,
        "normalize_activations": "layer_norm",
        "device": {"__type__": "torch.device", "value": "cuda"},
        "dtype": {"__type__": "torch.dtype", "value": "torch.float32"},
        "architecture": "standard",
        "expansion_factor": D_SAE // D_IN,
        "d_sae": D_SAE,
        "is_transcoder": False,
        "dataset_name": "imagenet1k",
        "dataset_path": "/network/scratch/somebody/datasets",
    }
    return {name: value for name, value in {**settings, **changes}.items() if value is not ...}


def write_prisma(folder: Path, state: Any, name: str = "weights.pt", **changes: Any) -> Path:
    """Write `config.json` and the state dict; a setting that is `...` is left out."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(prisma_settings(**changes)))
    torch.save(state, folder / name)
    return folder


def write_prisma_checkpoint(file: Path, state: Any, monkeypatch: Any, **changes: Any) -> None:
    """Write config and weights in one file, the config as an instance of Prisma's class."""
    module_name, _, class_name = PRISMA_CONFIG.rpartition(".")
    parts = module_name.split(".")
    with monkeypatch.context() as patched:
        for n in range(1, len(parts) + 1):
            module = ModuleType(".".join(parts[:n]))
            patched.setitem(sys.modules, module.__name__, module)
        config_class = type(class_name, (), {"__module__": module_name})
        setattr(sys.modules[module_name], class_name, config_class)
        config = config_class()
        settings = prisma_settings(**changes)
        # In the object they are torch's own.
        settings |= {"dtype": torch.float32, "device": torch.device("cpu")}
        vars(config).update(settings)
        torch.save({"cfg": config, "state_dict": state}, file)


def write_saev(file: Path, state: Any, header: dict[str, Any]) -> Path:
    """Write a header line and the state dict behind it."""
    saved = io.BytesIO()
    torch.save(state, saved)
    file.write_bytes(json.dumps(header).encode() + b"\n" + saved.getvalue())
    return file


def saev_header(schema: int, activation: str = "Relu", **params: Any) -> dict[str, Any]:
    """A header of schema 2 to 5."""
    widths = {"d_vit": D_IN, "exp_factor": D_SAE // D_IN}
    if schema >= 4:
        widths = {"d_model": D_IN, "d_sae": D_SAE}
    cfg = {**widths, "normalize_w_dec": True, "activation": {"cls": activation, "params": params}}
    return {"schema": schema, "cfg": cfg, "commit": "abc", "lib": "0.1.0"}


class Malicious:
    """A pickle of it makes a folder when it is opened as pickles are."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.trace),))
