"""What an edit adds to a forward pass.

Run ``python -m tests.benchmarks.steering_overhead --sae runs/quickstart/sae``. For batches of joint
vectors it prints the time that one edited call takes beyond an unedited one, as a share of the
vision tower's own forward pass of as many pictures. Median of many calls, on one thread.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from mm_sae_plugin import FeatureEdit, Study, steer


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sae", default="runs/quickstart/sae")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--repeats", type=int, default=30)
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study.open(args.sae)
    edit = FeatureEdit.ablate(study, classes="TextD")
    height, width = study.model.cfg.image_size
    print("batch   tower ms   added ms   share")
    for batch in args.batches:
        pixels = torch.randn(batch, 3, height, width)
        joint = torch.nn.functional.normalize(torch.randn(batch, study.model.cfg.d_joint), dim=-1)
        place = nn.Identity()
        with torch.inference_mode():
            tower = _milliseconds(lambda p=pixels: study.model(images=p), max(args.repeats // 6, 3))
            bare = _milliseconds(lambda v=joint, m=place: m(v), args.repeats)
            with steer(place, study, edit):
                steered = _milliseconds(lambda v=joint, m=place: m(v), args.repeats)
        added = steered - bare
        print(f"{batch:5}   {tower:8.2f}   {added:8.3f}   {added / tower:6.1%}")


def _milliseconds(call: Callable[[], object], repeats: int) -> float:
    call()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return median(taken) * 1e3


if __name__ == "__main__":
    main()
