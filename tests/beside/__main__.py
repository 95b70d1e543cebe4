"""Try the wheel beside the lowest and the highest SAELens, TransformerLens and open_clip."""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.beside.bounds import COMBINATIONS, Failure
from tests.beside.job import try_combination
from tests.beside.wheel import build_wheel, check_contents


def main() -> None:
    """Say of each combination that it passed or why it failed; exit with 1 if one did."""
    parser = argparse.ArgumentParser(prog="python -m tests.beside", description=__doc__)
    parser.add_argument(
        "combinations", nargs="*", help=f"{' or '.join(COMBINATIONS)}; both if none is named"
    )
    chosen = parser.parse_args().combinations or COMBINATIONS
    if unknown := set(chosen) - set(COMBINATIONS):
        parser.error(f"there is no combination {', '.join(sorted(unknown))}")
    with TemporaryDirectory(prefix="beside-") as folder:
        failed = _failures(chosen, Path(folder))
    sys.exit(1 if failed else 0)


def _failures(chosen: list[str] | tuple[str, ...], folder: Path) -> bool:
    try:
        wheel = build_wheel(folder / "wheel")
        check_contents(wheel)
    except Failure as failure:
        print(f"beside: {failure}")
        return True
    return any([not _passes(combination, wheel, folder) for combination in chosen])


def _passes(combination: str, wheel: Path, folder: Path) -> bool:
    began = time.monotonic()
    # An environment is some gigabytes: it goes before the next one comes.
    with TemporaryDirectory(dir=folder) as own:
        try:
            hosts = try_combination(combination, wheel, Path(own))
        except Failure as failure:
            print(f"beside {combination}: {failure}", flush=True)
            return False
    print(f"beside {combination}: {hosts}: passed in {time.monotonic() - began:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    main()
