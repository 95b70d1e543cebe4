"""Weights & Biases, by SAELens' `LoggingConfig`; imported only when it is on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sae_lens import LoggingConfig


@contextmanager
def wandb_run(logger: LoggingConfig, config: Mapping[str, Any]) -> Iterator[None]:
    """Open a run for the block when the logger asks for one, and close it whatever happens."""
    if not logger.log_to_wandb:
        yield
        return
    import wandb

    wandb.init(
        project=logger.wandb_project,
        entity=logger.wandb_entity,
        config=dict(config),
        name=logger.run_name,
        id=logger.wandb_id,
    )
    exit_code = 1
    try:
        yield
        exit_code = 0
    finally:
        wandb.finish(exit_code=exit_code)


def log_final(logger: LoggingConfig, metrics: Mapping[str, float], step: int) -> None:
    """Log the evaluation of the saved SAE on all rows, under ``final/``."""
    if not logger.log_to_wandb:
        return
    import wandb

    wandb.log({f"final/{name}": value for name, value in metrics.items()}, step=step)
