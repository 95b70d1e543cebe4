import pytest
import wandb
from sae_lens import LoggingConfig

from mm_sae_plugin.training import interruption


@pytest.fixture
def logged(monkeypatch):
    """Collect what goes to wandb, which needs an account or a server."""
    record = {"init": [], "log": [], "finish": [], "artifacts": []}
    monkeypatch.setattr(wandb, "init", lambda **options: record["init"].append(options))
    monkeypatch.setattr(wandb, "log", lambda values, step: record["log"].append((step, values)))
    monkeypatch.setattr(wandb, "finish", lambda exit_code=0: record["finish"].append(exit_code))
    monkeypatch.setattr(wandb, "log_artifact", lambda *_, **__: record["artifacts"].append(1))
    return record


def logger() -> LoggingConfig:
    return LoggingConfig(
        log_to_wandb=True,
        wandb_project="test",
        run_name="run",
        wandb_log_frequency=5,
        eval_every_n_wandb_logs=2,
    )


def test_each_modality_is_logged_while_training_and_at_the_end(make_runner, logged):
    result = make_runner(logger=logger()).run()
    assert logged["init"][0]["project"] == "test"
    assert logged["init"][0]["config"]["n_steps"] == 40
    evaluated = [step for step, values in logged["log"] if "metrics/image/l0" in values]
    assert evaluated == [9, 19, 29, 39]
    step, final = logged["log"][-1]
    assert step == 40
    for modality in ("image", "text"):
        assert (
            final[f"final/metrics/{modality}/explained_variance"]
            == (result.evaluation.explained_variance[modality])
        )
    assert logged["finish"] == [0]


def test_logging_does_not_change_the_weights(make_runner, logged):
    with_wandb = make_runner(logger=logger()).run().sae
    without = make_runner().run().sae
    assert with_wandb.W_dec.equal(without.W_dec)


def test_the_run_is_closed_when_training_fails(make_runner, logged, monkeypatch):
    def failing(self):
        raise ValueError("broken")

    monkeypatch.setattr(interruption.StoppableBatches, "__next__", failing)
    with pytest.raises(ValueError, match="broken"):
        make_runner(logger=logger()).run()
    assert logged["finish"] == [1]


def test_nothing_is_logged_without_a_logger(make_runner, logged):
    make_runner().run()
    assert not any(logged.values())
