"""``mm-sae demo``: list the demos, or start one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mm_sae_plugin.errors import UserError

if TYPE_CHECKING:
    from mm_sae_plugin.demos import Demo


QUICKSTART = Path("runs/quickstart")
"""Where the quickstart writes by default."""


@dataclass(frozen=True)
class DemoCommand:
    """List the demos, or start one in the browser."""

    name: Annotated[str | None, tyro.conf.Positional] = None
    """Which demo to start; without it they are listed."""
    sae: Path | None = None
    """Folder of a labelled SAE; by default the quickstart's, made first if there is none, but
    for defense, which does without."""
    acts: Path | None = None
    """The activation store; by default the one that the SAE was trained on."""
    pipeline: str | None = None
    """For steering: a diffusers pipeline, by its folder or its name at Hugging Face; by default the
    embedded generator."""
    beside: Path | None = None
    """For bias: folder of another labelled SAE, shown beside the first; where --sae is not given
    either, by default that of `factorworld-biased`, made first if there is none."""
    robustness: Path | None = None
    """For defense: a `robustness.json` of `mm-sae robustness`; by default the shipped one."""
    port: int | None = None
    """Port on this machine, 0 for any; by default the first free one from 7860 on."""
    browser: bool = True
    """Show it in the browser at once."""

    def run(self) -> None:
        """List the demos, or serve one until Ctrl-C."""
        from mm_sae_plugin.demos import DEMOS, DemoOptions

        if self.name is None:
            _print_list(DEMOS)
            return
        demo = DEMOS.get(self.name)
        if demo is None:
            raise UserError(f"There is no demo {self.name!r:.60}: choose {_names(DEMOS)}.")
        # What would fail is told before anything takes long.
        if self.pipeline is not None and not demo.takes_pipeline:
            takers = _names([name for name, one in DEMOS.items() if one.takes_pipeline])
            raise UserError(f"The {demo.name} demo draws no pictures: --pipeline is for {takers}.")
        if self.beside is not None and not demo.takes_beside:
            takers = _names([name for name, one in DEMOS.items() if one.takes_beside])
            raise UserError(f"The {demo.name} demo shows one SAE: --beside is for {takers}.")
        if self.robustness is not None and not demo.takes_robustness:
            takers = _names([name for name, one in DEMOS.items() if one.takes_robustness])
            raise UserError(
                f"The {demo.name} demo shows no evaluation: --robustness is for {takers}."
            )
        if self.acts is not None and self.sae is None:
            raise UserError("A store belongs to an SAE: give --sae with --acts.")
        if find_spec("gradio") is None:
            raise UserError(
                'Demos need Gradio, which is not installed: pip install "mm_sae_plugin[demos]".'
            )
        from mm_sae_plugin.demos.common.launch import (
            choose_port,
            launch,
            prepare_gradio,
            private_uploads,
        )

        port = choose_port(self.port)
        sae, beside = self._folders(demo)
        where = sae if sae.is_dir() else "its page without an SAE"
        print(f"{demo.title}: opening {where}; imports take some seconds …", flush=True)
        prepare_gradio()
        _import_slow_ones()
        with private_uploads():
            options = DemoOptions(sae, self.acts, self.pipeline, beside, self.robustness)
            launch(demo.build(options), port, self.browser)

    def _folders(self, demo: "Demo") -> tuple[Path, Path | None]:
        """The SAE, and the one beside it; made first where none was named and there is none."""
        if self.sae is not None:
            return self.sae, self.beside
        if not demo.needs_sae:
            return QUICKSTART / "sae", None
        sae, beside = _quickstart_sae(), self.beside
        if demo.takes_beside and beside is None:
            out = Path("runs/quickstart-biased")
            beside = _quickstart_sae(out=out, model="factorworld-biased")
        return sae, beside


def _import_slow_ones() -> None:
    """Import what takes seconds, with something that moves in a terminal."""
    from rich.console import Console

    for name, module in (("Gradio", "gradio"), ("PyTorch", "torch"), ("SAELens", "sae_lens")):
        with Console(stderr=True).status(f"importing {name}"):
            import_module(module)


def _print_list(demos: Mapping[str, "Demo"]) -> None:
    width = max(map(len, demos))
    for demo in demos.values():
        print(f"{demo.name:<{width}}  {demo.description}")
    print(f"Start one with: mm-sae demo {next(iter(demos))}")


def _names(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _quickstart_sae(**settings: Any) -> Path:
    """The folder of a quickstart's SAE, made first if there is none."""
    from mm_sae_plugin.commands.quickstart import QuickstartConfig, run_quickstart

    cfg = QuickstartConfig(**settings)
    # Written last: what has no summary was interrupted.
    if not (cfg.out / "summary.json").is_file():
        print(
            f"No SAE was named and there is none in {cfg.out} yet: it is made now, which takes a "
            "minute or two.",
            flush=True,
        )
        run_quickstart(cfg)
    return cfg.out / "sae"
