"""From the first step to the saved SAE; a training cut short saves what there is and says so."""

from collections.abc import Callable
from typing import Any

from sae_lens import SAE

from mm_sae_plugin.errors import Terminated, UserError
from mm_sae_plugin.training.distributed import Processes, progress_bar_of_first
from mm_sae_plugin.training.interruption import (
    InterruptedTwice,
    StoppableBatches,
    StoppedBetweenSteps,
    run_interruptibly,
    run_to_the_end,
)
from mm_sae_plugin.training.lost_processes import LostProcess
from mm_sae_plugin.training.place import ReservedSpace, is_full_disk
from mm_sae_plugin.training.rescue import Rescue
from mm_sae_plugin.training.trainer import WatchedTrainer, plain_dtype_errors


def fit_and_save(
    trainer: WatchedTrainer,
    batches: StoppableBatches,
    save: Callable[[], SAE[Any]],
    rescue: Rescue,
    reserve: ReservedSpace,
    place: str,
    processes: Processes | None = None,
) -> SAE[Any]:
    """Train and save.

    Parameters
    ----------
    trainer : WatchedTrainer
        What is trained.
    batches : StoppableBatches
        Its data provider.
    save : callable
        Saves the trained SAE and returns it as it is read back.
    rescue : Rescue
        Saves what was trained when the training is cut short.
    reserve : ReservedSpace
        Room to save into.
    place : str
        Where the SAE will be, for sentences.
    processes : Processes, optional
        Those that train together; the first alone saves what is rescued.

    Raises
    ------
    KeyboardInterrupt, UserError
        As ``MultimodalSAETrainingRunner.run``.
    """
    saved: list[SAE[Any]] = []

    # Saving is part of it, so that no interruption falls between the last step and the SAE.
    def work() -> None:
        with plain_dtype_errors(trainer.sae.cfg), progress_bar_of_first(processes):
            trainer.fit()
        trainer.check()
        reserve.release()
        saved.append(save())
        rescue.drop()

    def rescued(how: str) -> str:
        reserve.release()
        trainer.go_on_alone()
        if processes is not None and not processes.is_first:
            return f"{how} at step {trainer.n_training_steps}; rank 0 saves what there is."
        return rescue.interrupted(trainer, how)

    try:
        run_interruptibly(work, batches.stop)
    except InterruptedTwice:
        raise
    except StoppedBetweenSteps:
        # Another process was interrupted, and the same may come to this one any moment.
        raise Terminated(run_to_the_end(lambda: rescued("Interrupted"))) from None
    except KeyboardInterrupt as interruption:
        if saved:
            raise type(interruption)(
                f"Interrupted after the last step; the SAE is in {place}."
            ) from None
        message = run_to_the_end(lambda: rescued("Interrupted"))
        raise type(interruption)(message) from None
    except LostProcess as loss:
        raise LostProcess(f"{loss} {run_to_the_end(lambda: rescued('Stopped'))}") from loss
    except Exception as error:
        if is_full_disk(error):
            reserve.release()
            trainer.go_on_alone()
            raise UserError(rescue.disk_is_full(trainer, place)) from error
        raise
    return saved[0]
