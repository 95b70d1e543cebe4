"""How annotations are checked while the tests run: by beartype, on every call.

`tests.conftest` has jaxtyping's import hook put `checked` on every function and dataclass of the
package, so that a tensor of another shape or dtype than its annotation says fails the test that
made it.
"""

from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Checks a call's arguments and result; an `int` may stand where a `float` is asked for."""

_jaxtyped = jaxtyping.jaxtyped


def check_annotations() -> None:
    """Check annotations in every module of the package that is imported from here on."""
    # What the hook writes above every definition.
    jaxtyping.jaxtyped = _jaxtyped_once
    jaxtyping.install_import_hook("mm_sae_plugin", "tests.shapes.checked")


def _jaxtyped_once(*, typechecker: Callable[..., Any]) -> Callable[[Any], Any]:
    def decorated(definition: Any) -> Any:
        # A function within a function is defined anew whenever that one runs, and to compile a
        # check for it each time took a sixth of all tests' time. Hardly any has tensors of its own.
        if "<locals>" in definition.__qualname__:
            return definition
        return _jaxtyped(typechecker=typechecker)(definition)

    return decorated
