"""What every test relies on, however the suite was started."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest

from tests.shapes import check_annotations

check_annotations()


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_arrives():
    """Let SIGINT interrupt, also where the parent ignores it, as ``nohup … &`` makes it do.

    An ignored signal is inherited, and Python then installs no handler: neither a test that
    interrupts itself nor a process that it starts would ever see Ctrl-C.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def any_types():
    """Let a test hand in what no annotation allows, to see what a user is told who does so."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="session")
def small_sae(tmp_path_factory) -> Path:
    """Folder of a small SAE on a few pairs of FactorWorld, labelled."""
    from tests.labelled import labelled_sae

    folder = tmp_path_factory.mktemp("demo")
    return labelled_sae(
        folder, 500, d_sae=64, k=8, training_steps=100, train_batch_size_samples=128
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, one for all tests of a process: Playwright runs only once in each."""
    from tests.demos.browsing import CHROMIUM, HOW_TO_GET_IT

    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip(HOW_TO_GET_IT)
    # A machine at work on other tests answers slowly.
    sync_api.expect.set_options(timeout=60_000)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()
