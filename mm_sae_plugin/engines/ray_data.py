"""Workers on any number of machines, through Ray Data.

Only what Ray promises is relied on: a row in, a row out, and a row whose worker died is computed
again. Rows carry their number, and results are put in order here; what a task raises comes back as
a row too, so that it ends the run instead of being tried for ever.
"""

import logging
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from mm_sae_plugin.engines.engine import Part, Result, checked_n_workers
from mm_sae_plugin.engines.patient import signals_wait_for
from mm_sae_plugin.errors import UserError, one_line

_INSTALL = 'Ray is not installed: pip install "mm_sae_plugin[ray]".'
# A part whose worker dies each time, for want of memory say, would otherwise never end.
_MOST_TRIES = 4


class RayEngine:
    """Runs a task on parts in the workers of a Ray cluster, which receive the task once.

    Where the program is connected to Ray already, that connection is used. Otherwise one is made
    for each pass: to the cluster at ``address``, or at the environment variable ``RAY_ADDRESS``,
    or to a cluster of this machine alone that ends with the pass. Every machine needs this package,
    and finds the files that parts name under the same paths.

    A worker that dies costs the part that it was at, which another one computes again.

    Parameters
    ----------
    n_workers : int
        Workers, at least 1. Each computes on as many threads as torch is set to here, and takes as
        many CPUs of the cluster; where there are fewer, there are fewer workers at a time.
    address : str, optional
        Of a running cluster, as ``ray.init`` takes it.
    n_gpus_each : float
        GPUs that each worker takes.

    Raises
    ------
    UserError
        If Ray is not installed.
    """

    def __init__(self, n_workers: int, address: str | None = None, n_gpus_each: float = 0) -> None:
        from importlib.util import find_spec

        self.n_workers = checked_n_workers(n_workers)
        if find_spec("ray") is None:
            raise UserError(_INSTALL)
        self.address = address
        self.n_gpus_each = n_gpus_each

    def map(self, task: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield ``task(part)`` for every part, in order.

        All parts are sent at once, so let them name what is to be read rather than hold it. Results
        that are there before an earlier one wait in memory.

        Raises
        ------
        UserError
            If there is no cluster, the task or a part cannot be sent, a part fails (one raised by
            the task keeps its sentence, anything else is named with its part), or a part's worker
            died four times.
        """
        ray = _ray()
        listed = list(parts)
        if not listed:
            return
        rows = [_row(ray, number, part) for number, part in enumerate(listed)]
        waiting: dict[int, bytes] = {}
        n_yielded = 0
        with signals_wait_for("ray"), _connected(ray, self), _quiet(ray), _plain_errors(ray):
            for result in _results(ray, self, _pickled(ray, task, "the task"), rows):
                number = result["number"]
                if result["error"] is not None:
                    named = "" if result["is_ours"] else f"{_name(listed, number)} failed: "
                    raise UserError(named + result["error"])
                waiting[number] = result["result"]
                # Each at once, so that whoever keeps a record of them loses nothing.
                while n_yielded in waiting:
                    yield pickle.loads(waiting.pop(n_yielded))
                    n_yielded += 1
        assert n_yielded == len(listed)


class _PartRunner:
    """What a worker holds; Ray makes one in each."""

    def __init__(self, task: Any, tries: Any, n_threads: int) -> None:
        self._reference = task
        self._tries = tries
        self._n_threads = n_threads
        self._task: Callable[[Any], Any] | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        (row,) = table.to_pylist()
        result, error, is_ours = self._answer(row["number"], row["part"])
        return pa.table(
            {
                "number": pa.array([row["number"]], pa.int64()),
                "result": pa.array([result], pa.large_binary()),
                "error": pa.array([error], pa.string()),
                "is_ours": pa.array([is_ours], pa.bool_()),
            }
        )

    def _answer(self, number: int, part: bytes) -> tuple[bytes | None, str | None, bool]:
        import torch

        ray = _ray()
        if ray.get(self._tries.begin.remote(number)) > _MOST_TRIES:
            died = f"its worker died {_MOST_TRIES} times, most often for want of memory"
            return None, died, False
        try:
            # A product split over another number of threads rounds differently. Set here, since
            # Ray need not call from the thread that made this object.
            torch.set_num_threads(self._n_threads)
            task = self._task or pickle.loads(ray.get(self._reference))
            self._task = task
            return ray.cloudpickle.dumps(task(pickle.loads(part))), None, False
        except UserError as error:
            return None, str(error), True
        except Exception as error:
            return None, f"{type(error).__name__}: {error}", False


class _Tries:
    """Counts how often each part was begun; it outlives the workers."""

    def __init__(self) -> None:
        self._n_begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        self._n_begun[number] = self._n_begun.get(number, 0) + 1
        return self._n_begun[number]


def _results(
    ray: Any, engine: RayEngine, task: bytes, rows: list[pa.Table]
) -> Iterator[dict[str, Any]]:
    """Yield the rows that the workers return, in the order in which they come."""
    # Here until the last result is: a worker that takes another's place fetches the task again.
    reference = ray.put(task)
    counting = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Tries)
    tries = counting.remote()
    n_threads = _n_threads()
    # One block a row: a worker that dies costs a block.
    dataset = ray.data.from_arrow(rows).map_batches(
        _PartRunner,
        batch_size=1,
        batch_format="pyarrow",
        fn_constructor_args=(reference, tries, n_threads),
        compute=ray.data.ActorPoolStrategy(size=engine.n_workers, max_tasks_in_flight_per_actor=2),
        num_cpus=n_threads,
        num_gpus=engine.n_gpus_each or None,
    )
    try:
        for batch in dataset.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            yield from batch.to_pylist()
    finally:
        ray.kill(tries)


def _n_threads() -> int:
    import torch

    return torch.get_num_threads()


def _ray() -> Any:
    # Before Ray is imported, which reads them once. Nobody is told that it is used, and what is
    # logged for its own makers stays out of the terminal.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports]
        import ray.data  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(_INSTALL) from error
    return ray


def _row(ray: Any, number: int, part: Any) -> pa.Table:
    pickled = _pickled(ray, part, "a part")
    return pa.table(
        {
            "number": pa.array([number], pa.int64()),
            "part": pa.array([pickled], pa.large_binary()),
        }
    )


def _pickled(ray: Any, value: Any, name: str) -> bytes:
    # Ray's own pickle also takes functions and classes of a script.
    try:
        return ray.cloudpickle.dumps(value)
    except Exception as error:
        raise UserError(
            f"Ray's workers cannot be sent {name} ({one_line(error)}): everything in it must "
            "pickle; or compute on this machine alone."
        ) from error


def _name(parts: list[Any], number: int) -> str:
    """Return which part it is, in the part's own words where it has some."""
    name = getattr(parts[number], "name", None)
    place = f"Part {number + 1:,} of {len(parts):,}"
    return f"{place} ({name})" if isinstance(name, str) else place


@contextmanager
def _connected(ray: Any, engine: RayEngine) -> Iterator[None]:
    """Connect to a cluster while the block lasts, unless the program is connected already."""
    ours = not ray.is_initialized()
    try:
        if ours:
            _connect(ray, engine)
        _check_room(ray, {"CPU": _n_threads(), "GPU": engine.n_gpus_each})
        yield
    finally:
        if ours:
            ray.shutdown()


def _check_room(ray: Any, needed: dict[str, float]) -> None:
    """Refuse a cluster in which no worker would ever start."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(kind, 0) >= n for kind, n in needed.items()) for node in nodes):
        return
    wanted = " and ".join(f"{n:g} {kind}s" for kind, n in needed.items() if n)
    raise UserError(
        f"No machine of the Ray cluster has the {wanted} that a worker takes: add one that does, "
        "or compute on fewer threads (OMP_NUM_THREADS=1)."
    )


def _connect(ray: Any, engine: RayEngine) -> None:
    address = engine.address or os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Ray takes SIGTERM for itself, but what stops this program is for the program to say.
    in_main_thread = threading.current_thread() is threading.main_thread()
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        if address and address != "local":
            ray.init(address=address, **quiet)
        else:
            gpus = {"num_gpus": 0} if not engine.n_gpus_each else {}
            ray.init(
                address="local",
                num_cpus=engine.n_workers * _n_threads(),
                include_dashboard=False,
                **gpus,
                **quiet,
            )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"Ray cannot be reached at {address or 'this machine'} ({one_line(error)}): "
            "give the address of a running cluster, or unset RAY_ADDRESS."
        ) from error
    finally:
        if in_main_thread:
            signal.signal(signal.SIGTERM, on_termination)


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keep Ray Data's account of itself out of the terminal while the block lasts."""
    context = ray.data.DataContext.get_current()
    silent = {
        "enable_progress_bars": False,
        "print_on_execution_start": False,
    }
    before = {name: getattr(context, name) for name in silent}
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    for name, value in silent.items():
        setattr(context, name, value)
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            setattr(context, name, value)


@contextmanager
def _plain_errors(ray: Any) -> Iterator[None]:
    try:
        yield
    except ray.exceptions.RayError as error:
        raise UserError(
            f"Ray could not finish the pass ({one_line(error)}): every machine of the cluster "
            "needs mm_sae_plugin in the same version, and Ray's own logs say more."
        ) from error
