"""How true labels of modality are, by size and architecture of the dictionary.

``python -m tests.benchmarks.label_truth`` runs what ``mm-sae truth`` runs, with the same options
and the same files, and draws the figure as ``truth.png`` too where Chromium is there.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mm_sae_plugin.commands.truth import TruthCommand
from mm_sae_plugin.errors import Terminated, UserError
from mm_sae_plugin.termination import termination_interrupts

_PIXELS_PER_UNIT = 2


def write_png(svg: Path) -> Path | None:
    """Draw an SVG file as a PNG beside it; None without Chromium or playwright."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    png = svg.with_suffix(".png")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(device_scale_factor=_PIXELS_PER_UNIT)
        page.goto(svg.resolve().as_uri())
        page.locator("svg").screenshot(path=png)
        browser.close()
    return png


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 2 on wrong input, 130 on Ctrl-C and 143 on SIGTERM."""
    import tyro

    try:
        command = tyro.cli(TruthCommand, args=argv, prog="python -m tests.benchmarks.label_truth")
        with termination_interrupts():
            command.run()
            png = write_png(command.out / "truth.svg")
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interruption:
        print(interruption, file=sys.stderr)
        sys.exit(143 if isinstance(interruption, Terminated) else 130)
    if png is not None:
        print(f"The figure is also {png}.")


if __name__ == "__main__":
    main()
