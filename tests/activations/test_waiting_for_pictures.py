"""An extraction says when it waits for pictures rather than for the model."""

import time
from dataclasses import dataclass, replace
from typing import Any

from mm_sae_plugin.activations import ExtractConfig, extract
from mm_sae_plugin.pairs import ImageOpener
from tests.activations.pictures import noise_pairs

CFG = ExtractConfig(batch_size=8, num_workers=0)


@dataclass(frozen=True)
class Slow:
    """Takes its time over every picture."""

    opener: ImageOpener

    def open_image(self, image_key: Any) -> Any:
        time.sleep(0.05)
        return self.opener.open_image(image_key)


def test_the_bar_says_what_share_of_the_time_pictures_are_waited_for(model, tmp_path, capsys):
    source = noise_pairs(16)
    extract(model, replace(source, opener=Slow(source.opener)), tmp_path / "slow", CFG)
    shares = capsys.readouterr().err.split("waiting for pictures=")[1:]
    assert shares
    # 0.8 seconds of waiting, beside a model of a few thousand weights.
    assert int(shares[-1].split("%")[0]) > 50


def test_time_is_counted_only_while_something_is_waited_for():
    from mm_sae_plugin.activations.under_way import Waits

    waits = Waits()
    for _ in waits.watched([1, 2, 3]):
        time.sleep(0.05)
    assert waits.share < 0.1
