"""A started demo, and a browser to look at it."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mm_sae_plugin.demos import DEMOS, DemoOptions
from mm_sae_plugin.demos.common.launch import (
    choose_port,
    prepare_gradio,
    private_uploads,
    served,
)
from tests.demos.browsing import Visit


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Any], str]]:
    """Serve an app as the command does, until the tests are over; returns its address."""
    with ExitStack() as running:
        running.enter_context(private_uploads())
        prepare_gradio()
        yield lambda app: running.enter_context(served(app, choose_port(0)))


@pytest.fixture(scope="session")
def address_of(serve, small_sae) -> Callable[[str], str]:
    """Start a demo by its name on the small SAE, once; returns its address."""
    started: dict[str, str] = {}

    def address(name: str) -> str:
        if name not in started:
            started[name] = serve(DEMOS[name].build(DemoOptions(small_sae)))
        return started[name]

    return address


@dataclass(frozen=True)
class Steering:
    """The steering demo on an untrained generator."""

    address: str
    painter: Any


@pytest.fixture(scope="session")
def steering(serve, small_sae, tmp_path_factory) -> Steering:
    """Start the steering demo."""
    pytest.importorskip("diffusers")
    from mm_sae_plugin.applications.steering import Painter
    from mm_sae_plugin.factorworld.generator import save_generator
    from tests.factorworld.generator.tiny import tiny_pipeline

    folder = tmp_path_factory.mktemp("steering") / "generator"
    save_generator(tiny_pipeline(), folder)
    opened: list[Any] = []
    real = Painter.open

    def open_and_keep(*given: Any) -> Any:
        opened.append(real(*given))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Painter, "open", open_and_keep)
        app = DEMOS["steering"].build(DemoOptions(small_sae, pipeline=str(folder)))
    return Steering(serve(app), opened[0])


@dataclass(frozen=True)
class Bias:
    """The bias demo on the plain and the biased model, with few twins."""

    address: str
    subjects: Any


@pytest.fixture(scope="session")
def biased_sae(tmp_path_factory) -> Path:
    """Folder of a small labelled SAE of the biased model."""
    from tests.labelled import labelled_sae

    settings: dict[str, Any] = {"d_sae": 64, "k": 8, "training_steps": 100}
    settings["train_batch_size_samples"] = 128
    folder = tmp_path_factory.mktemp("biased")
    return labelled_sae(folder, 500, model_name="factorworld-biased", **settings)


@pytest.fixture(scope="session")
def bias(serve, small_sae, biased_sae) -> Bias:
    """Start the bias demo."""
    from mm_sae_plugin.demos import bias as room
    from mm_sae_plugin.demos.bias import subject

    opened: list[Any] = []

    def open_and_keep(*given: Any) -> Any:
        opened.extend(subject.open_subjects(*given))
        return opened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "N_PER_TARGET", 4)
        patch.setattr(room, "open_subjects", open_and_keep)
        app = DEMOS["bias"].build(DemoOptions(small_sae, beside=biased_sae))
    return Bias(serve(app), opened)


@dataclass(frozen=True)
class Defense:
    """The defense demo with a stand-in for the shipped robust tower."""

    address: str
    subject: Any


@pytest.fixture(scope="session")
def defense(serve, small_sae, tmp_path_factory) -> Defense:
    """Start the defense demo, with a made-up evaluation."""
    from mm_sae_plugin.demos import defense as room
    from mm_sae_plugin.demos.defense import subject
    from tests.demos.synthetic_record import synthetic_record

    record = tmp_path_factory.mktemp("robustness") / "robustness.json"
    record.write_text(json.dumps(synthetic_record()))
    opened: list[Any] = []

    def open_and_keep(*given: Any) -> Any:
        opened.append(subject.open_subject(*given))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "open_subject", open_and_keep)
        app = DEMOS["defense"].build(DemoOptions(small_sae, robustness=record))
    return Defense(serve(app), opened[0])


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Visit]]:
    """Open pages; at the end of the test each must have kept to itself and not complained."""
    visits: list[Visit] = []

    def open_page(address: str, width: int = 1280, **settings: Any) -> Visit:
        visits.append(Visit(browser, address, width, **settings))
        visits[-1].page.set_default_timeout(60_000)
        return visits[-1]

    yield open_page
    for opened in visits:
        try:
            opened.check()
        finally:
            opened.context.close()


@pytest.fixture
def screenshots(tmp_path) -> Path:
    """Where to put pictures of pages: the folder in MM_SAE_SCREENSHOTS, to look at them."""
    folder = Path(os.environ.get("MM_SAE_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
