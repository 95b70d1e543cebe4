"""How annotations are checked while the tests run: by beartype, on every call.

`tests.conftest` hands `checked` to jaxtyping's import hook, which puts it on every function and
dataclass of the package, so that a tensor of another shape or dtype than its annotation says
fails the test that made it.
"""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""Checks a call's arguments and result; an `int` may stand where a `float` is asked for."""
