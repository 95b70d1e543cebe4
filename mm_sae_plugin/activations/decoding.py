"""Opening and preprocessing images ahead of the model, in worker processes."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mm_sae_plugin.activations.facts import facts_of
from mm_sae_plugin.devices import available_cores
from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.pairs import BadImage, ImageKey, ImageOpener, PictureOpener

Preprocess = Callable[[Any], Float[Tensor, "3 height width"]]

_FEW_IMAGES = 2_000
_MAX_WORKERS = 8


@dataclass(frozen=True)
class DecodedBatch:
    """The usable images of one batch, and why the others are not."""

    pixels: Float[Tensor, "n_good 3 height width"] | None
    """Preprocessed images in order; None when none is usable."""
    good: list[int]
    """Their positions within the batch."""
    bad: dict[int, str]
    """Reason for each other position."""
    facts: Int[Tensor, "n_good 2"] | None = None
    """What is known of each usable picture's file, see :mod:`mm_sae_plugin.activations.facts`;
    None for a source whose pictures are no files."""


@dataclass(frozen=True)
class _Decoded:
    pixels: Float[Tensor, "3 height width"]
    facts: tuple[int, int] | None


@dataclass(frozen=True)
class _Reason:
    text: str
    # The user's set-up is at fault rather than the image, so every other image would fail too.
    fatal: bool = False


class _Images(Dataset):
    """Maps an image key, not a number, to pixels: nothing but the opener goes to the workers."""

    def __init__(self, opener: ImageOpener, preprocess: Preprocess) -> None:
        self.opener = opener
        self.preprocess = preprocess

    def __getitem__(self, image_key: Any) -> _Decoded | _Reason:
        # Any exception of any decoder is a bad image: a run must not end at pair 900,000.
        try:
            if not isinstance(self.opener, PictureOpener):
                return _Decoded(self.preprocess(self.opener.open_image(image_key)), None)
            picture = self.opener.open_picture(image_key)
            return _Decoded(self.preprocess(picture.image), facts_of(picture))
        except UserError as error:
            return _Reason(str(error), fatal=True)
        except BadImage as error:
            return _Reason(str(error))
        except Exception as error:
            return _Reason(f"{type(error).__name__}: {error}")


def can_be_opened(opener: ImageOpener, preprocess: Preprocess, image_key: ImageKey) -> bool:
    """Whether an image gives pixels."""
    return isinstance(_Images(opener, preprocess)[image_key], _Decoded)


def decoded_batches(
    opener: ImageOpener,
    preprocess: Preprocess,
    batches: Sequence[Sequence[ImageKey]],
    num_workers: int,
    pin_memory: bool = False,
    start_method: str | None = None,
) -> Iterator[DecodedBatch]:
    """Decode batches of images, in order.

    Parameters
    ----------
    opener, preprocess
        Both must be picklable when there are workers.
    batches
        Image keys.
    num_workers
        Processes, each on one thread; 0 to decode in this one.
    pin_memory
        Lay pixels out for a quick transfer to a GPU.
    start_method
        How processes are started; the platform's own way by default.

    Raises
    ------
    UserError
        If a worker dies, or if the opener or the transform says that nothing can work.
    """
    loader = DataLoader(
        _Images(opener, preprocess),
        batch_sampler=batches,  # type: ignore[arg-type]  (any list of lists of keys will do)
        num_workers=num_workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        worker_init_fn=_leave_interrupts_to_the_parent,
        multiprocessing_context=start_method if num_workers else None,
        persistent_workers=False,
    )
    iterator = iter(loader)
    try:
        for batch in _watched(iterator):
            if isinstance(batch, _Reason):
                raise UserError(batch.text)
            yield batch
    finally:
        # Otherwise workers go on until the garbage collector comes by.
        shutdown = getattr(iterator, "_shutdown_workers", None)
        if shutdown is not None:
            shutdown()


def default_num_workers(n_images: int) -> int:
    """Return how many processes are worth starting for so many images."""
    if n_images < _FEW_IMAGES:
        return 0
    return min(available_cores() - 1, _MAX_WORKERS)


def _collate(items: list[_Decoded | _Reason]) -> DecodedBatch | _Reason:
    bad = {i: item for i, item in enumerate(items) if isinstance(item, _Reason)}
    fatal = next((reason for reason in bad.values() if reason.fatal), None)
    if fatal is not None:
        return fatal
    decoded = [item for item in items if isinstance(item, _Decoded)]
    facts = [item.facts for item in decoded if item.facts is not None]
    return DecodedBatch(
        pixels=torch.stack([item.pixels for item in decoded]) if decoded else None,
        good=[i for i in range(len(items)) if i not in bad],
        bad={i: reason.text for i, reason in bad.items()},
        facts=torch.tensor(facts, dtype=torch.int64) if facts else None,
    )


def _watched(iterator: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise UserError(
                "A process that decodes images died, most often for want of memory or of space in "
                "/dev/shm: run again with fewer num_workers or a smaller batch_size. A script "
                "needs 'if __name__ == \"__main__\":' around its call where processes are spawned "
                f"({one_line(error)})."
            ) from error
        yield batch


def _leave_interrupts_to_the_parent(worker: int) -> None:
    # Ctrl-C reaches every process of a terminal, and a scheduler's SIGTERM every one of a job; a
    # traceback from each, or a worker that died, would bury the one line.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # A thread that hands pictures over calls it when the parent is gone; what goes wrong in the
    # work itself is told by other ways.
    sys.excepthook = lambda *_: None
    torch.set_num_threads(1)
