"""The attack on one picture: in the background, told step by step, stopped when asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from PIL.Image import Image

from mm_sae_plugin.applications.defense.one_picture import as_picture
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.jobs import Jobs, Stopped, Stopping, Waiting
from mm_sae_plugin.demos.common.keeping import place_for
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of, picture_hash
from mm_sae_plugin.demos.defense import drawing
from mm_sae_plugin.demos.defense.address import Asked
from mm_sae_plugin.demos.defense.attacking import Found, Step, attack_of
from mm_sae_plugin.demos.defense.controls import Controls
from mm_sae_plugin.demos.defense.subject import SEED, called
from mm_sae_plugin.errors import UserError

_OUTPUTS = ("shown", "status", "moved", "image", "manifest", "known")
FIRST = "Attack the picture to see what each defense says."
_STALE = "What is shown is of earlier settings: attack again to see these."


@dataclass(frozen=True)
class Known:
    """What is shown, by what it was asked for."""

    asked: Asked
    picture: str
    """Its hash."""
    told: str
    """What the status says of it."""


class Running:
    """The events' functions of the tab."""

    def __init__(self, controls: Controls) -> None:
        self._controls, self._subject = controls, controls.subject
        self._jobs = Jobs(None, controls.subject.model)

    def events(self) -> tuple[Any, Any, Any]:
        """Return the functions of run, stop and mark, as Gradio takes them."""
        import gradio as gr

        @told
        def run(request, *values: Any):
            yield from self._run(_visitor(request), values)

        def stop(request):
            # What is stopped says so itself, in its turn.
            found = self._jobs.stop(_visitor(request))
            return gr.skip() if found else drawing.sentence("Nothing is being attacked.")

        def mark(request, known: Known | None, *values: Any):
            return self._mark(_visitor(request), known, values)

        # Gradio hands the request in where an annotation asks for it.
        for handler in (run, stop, mark):
            handler.__annotations__["request"] = gr.Request
        return run, stop, mark

    def _run(self, visitor: Any, values: Any) -> Iterator[Any]:
        import gradio as gr

        def page(**new: Any) -> list[Any]:
            return [new.get(name, gr.skip()) for name in _OUTPUTS]

        asked, picture = self._controls.read(values)
        off = gr.DownloadButton(value=None, interactive=False)
        # What stood here is of another attack.
        yield page(shown="", moved="", image=off, manifest=off, known=None)
        begun, started, kept = _Begun(), time.monotonic(), {}
        for what in self._jobs.run(visitor, attack_of(self._subject, asked, picture)):
            if isinstance(what, Waiting):
                yield page(status=_waiting(what.n_before))
            elif isinstance(what, Stopping):
                yield page(status=drawing.sentence("Stopping …"))
            elif isinstance(what, Stopped):
                if not what.by_newer:
                    yield page(status=drawing.sentence(begun.halted(asked)))
                return
            elif isinstance(what, Step):
                begun.step = what
                yield page(status=begun.progress(asked))
            else:
                assert isinstance(what, Found)
                begun.n_done += 1
                kept["shown"] = what.shown(self._subject, asked)
                if what.moved is not None:
                    begun.first_s = time.monotonic() - started
                    kept |= {"moved": what.moved, **self._files(asked, picture, what)}
                yield page(**kept)
        said = begun.done(len(self._subject.found), time.monotonic() - started)
        known = Known(asked, picture_hash(picture), said)
        # Whoever asks from a script gets the last page alone: it holds everything.
        yield page(**kept, status=drawing.sentence(said), known=known)

    def _files(self, asked: Asked, picture: Image, found: Found) -> dict[str, Any]:
        """Updates of both downloads."""
        import gradio as gr

        adversarial = as_picture(found.outcome.adaptive[asked.defense])
        path = place_for(f"adversarial-{asked.task}-{asked.eps}.png")
        adversarial.save(path)
        manifest = manifest_file(self._manifest(asked, picture, found))
        return {
            "image": gr.DownloadButton(value=str(path), interactive=True),
            "manifest": gr.DownloadButton(value=manifest, interactive=True),
        }

    def _mark(self, visitor: Any, known: Known | None, values: Any) -> Any:
        """Say so where what is shown is of other settings by now."""
        import gradio as gr

        if known is None or self._jobs.is_at_work(visitor):
            return gr.skip()
        try:
            asked, picture = self._controls.read(values)
        # It is told when it is attacked.
        except UserError:
            return drawing.sentence(_STALE)
        is_same = _without_tab(asked) == _without_tab(known.asked)
        is_same = is_same and picture_hash(picture) == known.picture
        return drawing.sentence(known.told if is_same else _STALE)

    def _manifest(self, asked: Asked, picture: Image, found: Found) -> dict[str, Any]:
        subject, outcome = self._subject, found.outcome
        settings = {
            **asdict(asked),
            "world_seed_of_cards": SEED,
            "classes": found.names,
            "truth": found.names[outcome.truth],
            "picture_sha256": picture_hash(picture),
            "static_sha256": picture_hash(as_picture(outcome.static)),
            "adaptive_sha256": picture_hash(as_picture(outcome.adaptive[asked.defense])),
            "defenses": [
                {"name": one.name, "kind": one.kind, "weights_id": one.model.weights_id}
                for one in subject.found
            ],
        }
        return manifest_of(subject.study, "defense", settings, asked.seed, model=subject.model)


@dataclass
class _Begun:
    """How far an attack is."""

    step: Step | None = None
    n_done: int = 0
    """Contenders that were attacked."""
    first_s: float = 0.0
    """What it took until the defense that is looked at was attacked."""

    def progress(self, asked: Asked) -> str:
        assert self.step is not None
        through = f"through {called(self.step.name)}"
        told = f"Attacking {through if self.n_done else 'the encoder without a defense'}"
        return drawing.progress(told, self.step.n_begun, asked.steps)

    def halted(self, asked: Asked) -> str:
        if self.step is None:
            return "Stopped before its first step."
        left = " What it found until then is shown." if self.n_done else ""
        where = f"step {self.step.n_begun} of {asked.steps} of {called(self.step.name)}"
        return f"Stopped at {where}.{left}"

    def done(self, n_all: int, whole_s: float) -> str:
        rest = f", and through all {n_all - 1} defenses in {whole_s:.1f} s" if n_all > 2 else ""
        return f"Attacked in {self.first_s:.1f} s{rest}."


def _without_tab(asked: Asked) -> dict[str, Any]:
    return {**asdict(asked), "tab": ""}


def _visitor(request: Any) -> Any:
    return request.session_hash


def _waiting(n_before: int) -> str:
    others = "another attack" if n_before == 1 else f"{n_before} other attacks"
    return drawing.sentence(f"Waiting for {others} …")
