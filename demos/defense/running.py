"""The attack on one picture: in the background, told step by step, stopped when asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from PIL.Image import Image

from mm_sae_plugin.applications.defense.one_picture import (
    TOWARD,
    Outcome,
    PictureAttack,
    as_picture,
    attack_picture,
)
from mm_sae_plugin.demos.common.errors import told
from mm_sae_plugin.demos.common.jobs import Jobs, Stopped, Stopping, Tell, Waiting
from mm_sae_plugin.demos.common.keeping import place_for
from mm_sae_plugin.demos.common.manifest import manifest_file, manifest_of, picture_hash
from mm_sae_plugin.demos.defense import drawing
from mm_sae_plugin.demos.defense.address import READ, Asked
from mm_sae_plugin.demos.defense.controls import Controls
from mm_sae_plugin.demos.defense.moving import moved
from mm_sae_plugin.demos.defense.showing import attacked
from mm_sae_plugin.demos.defense.subject import SEED, Subject, called

_OUTPUTS = ("shown", "status", "moved", "image", "manifest", "known")
FIRST = "Attack the picture to see what each defense says."
_STALE = "What is shown is of earlier settings: attack again to see these."


@dataclass(frozen=True)
class Step:
    """A step of an attack began."""

    name: str
    """The contender that is attacked."""
    n_begun: int


@dataclass(frozen=True)
class Known:
    """What is shown, by what it was asked for."""

    asked: Asked
    picture: str
    """Its hash."""
    told: str
    """What the status says of it."""


@dataclass(frozen=True)
class _Posed:
    """An attack with its classes, of which a text of one's own may be the last."""

    attack: PictureAttack
    classes: Any
    names: list[str]
    truth: int | None


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
        outcome, step, started, took = None, None, time.monotonic(), ""

        def work(tell: Tell) -> None:
            posed = _posed(self._subject, asked)
            tell(posed)
            for one in attack_picture(
                self._subject.found,
                posed.classes,
                picture,
                posed.attack,
                posed.truth,
                asked.defense,
                lambda name, k: tell(Step(name, k)),
            ):
                panel = gr.skip()
                is_first = list(one.adaptive)[-1] == asked.defense
                if is_first:
                    victims = {
                        name: self._subject.contender(name).victim(posed.classes)
                        for name in one.adaptive
                    }
                    panel = moved(self._subject, victims, one, asked.defense)
                tell((one, panel))

        posed: _Posed | None = None
        for what in self._jobs.run(visitor, work):
            if isinstance(what, Waiting):
                yield page(status=_waiting(what.n_before))
            elif isinstance(what, Stopping):
                yield page(status=drawing.sentence("Stopping …"))
            elif isinstance(what, Stopped):
                if not what.by_newer:
                    yield page(status=drawing.sentence(_halted(step, asked, outcome)))
                return
            elif isinstance(what, Step):
                step = what
                yield page(status=_progress(what, asked, outcome))
            elif isinstance(what, _Posed):
                posed = what
            else:
                assert posed is not None
                outcome, panel = what
                shown = attacked(
                    self._subject,
                    outcome,
                    posed.names,
                    asked.defense,
                    asked.eps,
                    posed.attack.target,
                )
                new: dict[str, Any] = {"shown": shown, "moved": panel}
                if list(outcome.adaptive)[-1] == asked.defense:
                    took = f"{time.monotonic() - started:.1f} s"
                    new["image"] = gr.DownloadButton(
                        value=_image_file(outcome, asked), interactive=True
                    )
                    manifest = manifest_file(self._manifest(asked, picture, posed, outcome))
                    new["manifest"] = gr.DownloadButton(value=manifest, interactive=True)
                yield page(**new)
        n_all, whole = len(self._subject.found), time.monotonic() - started
        said = f"Attacked in {took}"
        if n_all > 2:
            said += f", and through all {n_all - 1} defenses in {whole:.1f} s"
        known = Known(asked, picture_hash(picture), f"{said}.")
        yield page(status=drawing.sentence(known.told), known=known)

    def _mark(self, visitor: Any, known: Known | None, values: Any) -> Any:
        """Say so where what is shown is of other settings by now."""
        import gradio as gr

        if known is None or self._jobs.is_at_work(visitor):
            return gr.skip()
        try:
            asked, picture = self._controls.read(values)
        # It is told when it is attacked.
        except Exception:
            return drawing.sentence(_STALE)
        is_same = _without_tab(asked) == _without_tab(known.asked)
        is_same = is_same and picture_hash(picture) == known.picture
        return drawing.sentence(known.told if is_same else _STALE)

    def _manifest(
        self, asked: Asked, picture: Image, posed: _Posed, outcome: Outcome
    ) -> dict[str, Any]:
        subject = self._subject
        settings = {
            **asdict(asked),
            "world_seed_of_cards": SEED,
            "classes": posed.names,
            "truth": posed.names[outcome.truth],
            "picture_sha256": picture_hash(picture),
            "static_sha256": picture_hash(as_picture(outcome.static)),
            "adaptive_sha256": picture_hash(as_picture(outcome.adaptive[asked.defense])),
            "defenses": [
                {"name": one.name, "kind": one.kind, "weights_id": one.model.weights_id}
                for one in subject.found
            ],
        }
        return manifest_of(subject.study, "defense", settings, asked.seed, model=subject.model)


def _posed(subject: Subject, asked: Asked) -> _Posed:
    """Return the attack; a text that is no class becomes one more of them."""
    task = subject.tasks[asked.task]
    classes, names, target = task.classes, task.names, None
    if asked.attack == TOWARD:
        if asked.toward not in names:
            classes = torch.cat([classes, subject.vector_of(asked.toward)])
            names = [*names, asked.toward]
        target = names.index(asked.toward)
    attack = PictureAttack(asked.attack, asked.eps / 255, asked.steps, target, asked.seed)
    truth = None if asked.truth == READ else names.index(asked.truth)
    return _Posed(attack, classes, names, truth)


def _image_file(outcome: Outcome, asked: Asked) -> str:
    path = place_for(f"adversarial-{asked.task}-{asked.eps}.png")
    as_picture(outcome.adaptive[asked.defense]).save(path)
    return str(path)


def _without_tab(asked: Asked) -> dict[str, Any]:
    return {**asdict(asked), "tab": ""}


def _visitor(request: Any) -> Any:
    return request.session_hash


def _waiting(n_before: int) -> str:
    others = "another attack" if n_before == 1 else f"{n_before} other attacks"
    return drawing.sentence(f"Waiting for {others} …")


def _progress(step: Step, asked: Asked, outcome: Outcome | None) -> str:
    n_done = 0 if outcome is None else len(outcome.adaptive)
    return drawing.progress(_where(step, n_done), step.n_begun, asked.steps)


def _where(step: Step, n_done: int) -> str:
    if n_done == 0:
        return "Attacking the encoder without a defense"
    return f"Attacking through {called(step.name)}"


def _halted(step: Step | None, asked: Asked, outcome: Outcome | None) -> str:
    if step is None:
        return "Stopped before its first step."
    left = "" if outcome is None else " What it found until then is shown."
    return f"Stopped at step {step.n_begun} of {asked.steps} of {called(step.name)}.{left}"
