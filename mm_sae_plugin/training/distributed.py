"""The processes that train one SAE together: how they find each other, agree, and part.

``torchrun`` starts them and tells each its *rank*. All communication is PyTorch's own
(:mod:`torch.distributed`): gloo between CPUs, NCCL between GPUs, and gloo for what is said beside.
Nothing waits for ever: every wait has a time limit, and who dies closes its connections.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partialmethod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous
from tqdm.std import tqdm

from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.training.interruption import InterruptedTwice
from mm_sae_plugin.training.lost_processes import Notes, lost_processes_named, notes_kept_in

# Seconds after which a rank speaks for itself, the first having said nothing.
_FIRST_SPEAKS_WITHIN = 15.0


@dataclass(frozen=True)
class Processes:
    """The processes of a training, as one of them sees them.

    ``any``, ``gather``, ``share`` and ``agree`` are *collective*: all processes call them at the
    same point, and they raise ``LostProcess`` where one of them does not.
    """

    rank: int
    """Number of this process, from 0."""
    n: int
    """How many there are."""

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes, logs and prints."""
        return self.rank == 0

    def part(self, n_items: int) -> slice:
        """Return which of ``n_items`` are this process'; parts differ in length by one at most."""
        return slice(self.rank * n_items // self.n, (self.rank + 1) * n_items // self.n)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in one of them."""
        return bool(self.share(torch.tensor(int(flag)), dist.ReduceOp.MAX))

    def share(self, tensor: Tensor, op: Any = dist.ReduceOp.SUM) -> Tensor:
        """Reduce a tensor over all processes, in place, and return it."""
        with lost_processes_named():
            dist.all_reduce(tensor, op)
        return tensor

    def gather(self, value: Any) -> list[Any]:
        """Return everyone's value to all, by rank; values must be small and plain."""
        values: list[Any] = [None] * self.n
        with lost_processes_named():
            dist.all_gather_object(values, value)
        return values

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Check that all processes have the same facts.

        Raises
        ------
        UserError
            If they have not; all of them raise it.
        """
        first, *others = self.gather(dict(facts))
        for rank, theirs in enumerate(others, start=1):
            for name in first:
                if theirs[name] != first[name]:
                    raise UserError(
                        f"The processes disagree: {name} is {first[name]} for rank 0 and "
                        f"{theirs[name]} for rank {rank}. Start all with the same command, on "
                        "folders that all of them see."
                    )


def open_processes() -> Processes | None:
    """Return the processes that this one trains together with; None where it trains alone.

    Raises
    ------
    UserError
        If a script has opened a process group that does not talk between CPUs.
    """
    if not dist.is_available() or not dist.is_initialized():
        return None
    if "gloo" not in dist.get_backend_config():
        raise UserError(
            f"The process group talks by {dist.get_backend()} alone: open it with "
            "mm_sae_plugin.training.process_group, or with backend='cpu:gloo,cuda:nccl'."
        )
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def process_group(
    device: str = "cpu", timeout: float = 600.0, *, only_first_speaks: bool = False
) -> Iterator[Processes | None]:
    """Join the processes that ``torchrun`` started with this one, for a block.

    Trainings within the block are one training of all of them. Where ``torchrun`` started none,
    or a script has opened a process group already, nothing is changed.

    Parameters
    ----------
    device : str
        Where they will train: ``"cpu"``, or ``"cuda"`` for a GPU each.
    timeout : float
        Seconds that one waits for another that does not answer.
    only_first_speaks : bool
        Whether ranks other than 0 keep warnings and logs to themselves, and do not repeat on
        stderr, when they end with an error, that the first one has ended too.

    Yields
    ------
    Processes or None
        None where this process is alone.

    Raises
    ------
    UserError
        If a process has no GPU of its own, or the others cannot be found.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield open_processes()
        return
    _check_own_device(device)
    limit = timedelta(seconds=timeout)
    try:
        store, rank, n = next(iter(rendezvous("env://", timeout=limit)))
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "cpu:gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=n, timeout=limit)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The processes of this training have not found each other ({one_line(error)}): start "
            "them all with torchrun."
        ) from error
    is_quiet = only_first_speaks and rank > 0
    with notes_kept_in(store, rank, n) as notes, _quiet(is_quiet):
        try:
            yield open_processes()
        except BaseException as error:
            notes.leave(error)
            # Closed connections tell the others at once. Who is in a hurry has a step under way,
            # whose end it would wait for; the connections are closed with the process.
            if not isinstance(error, InterruptedTwice):
                dist.destroy_process_group()
            if is_quiet:
                _fall_silent(notes, timeout if _is_stop(error) else _FIRST_SPEAKS_WITHIN)
            raise
        dist.destroy_process_group()


def device_of_rank(device: str, processes: Processes | None) -> str:
    """Return where a process trains: ``"cuda"`` stands for a GPU for each of a computer's."""
    if processes is None or device != "cuda":
        return device
    return f"cuda:{os.environ.get('LOCAL_RANK', processes.rank)}"


@contextmanager
def progress_bar_of_first(processes: Processes | None) -> Iterator[None]:
    """Show SAELens' progress bars in the first process alone."""
    if processes is None or processes.is_first:
        yield
        return
    shown = tqdm.__init__
    tqdm.__init__ = partialmethod(shown, disable=True)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        tqdm.__init__ = shown


def _check_own_device(device: str) -> None:
    if device == "cpu":
        return
    if device != "cuda":
        raise UserError(
            f"Several processes would share the device {device!r}: give 'cuda', with which each "
            "takes a GPU of its own, or 'cpu'."
        )
    local, n_gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= n_gpus:
        raise UserError(
            f"Process {local + 1} on this computer has no GPU of its own, there being {n_gpus}: "
            "start as many processes as there are GPUs, or give 'cpu'."
        )


def _is_stop(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt)


@contextmanager
def _quiet(is_quiet: bool) -> Iterator[None]:
    if not is_quiet:
        yield
        return
    log = logging.getLogger("mm_sae_plugin")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _fall_silent(notes: Notes, seconds: float) -> None:
    """Say no more on stderr once the first process has said why it ends."""
    try:
        is_said = notes.first_speaks_within(seconds)
    except KeyboardInterrupt:
        # The launcher does not wait.
        is_said = False
    if is_said:
        # The program is ending, and whoever prints the error knows nothing of other processes.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
