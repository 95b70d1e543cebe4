"""What decides the content of a store, how its address is computed, and when two are the same."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256

# What things are called and where they lie decides nothing: two names may mean one model.
_NAMES = ("model_name", "source")
# What earlier versions did not note. A store without one keeps its address.
_LATER = ("reading", "transform_id", "tokenizer_id")
_WORDS = {"transform_id": "the image transform", "tokenizer_id": "the tokenizer"}
# What hashes stand for.
_MEANINGS = {"fingerprint": "the pairs", "weights_id": "the model's weights", **_WORDS}


@dataclass(frozen=True)
class Identity:
    """All that decides the content of a store; its hash is the store's address."""

    model_name: str
    """The name the model was loaded by."""
    weights_id: str
    """Which weights and configuration; see ``HookedCLIP.weights_id``."""
    image_hook: str
    """Hook point of the image rows."""
    text_hook: str | None
    """Hook point of the text rows."""
    token_mode: str | None
    """Which tokens of an image were kept."""
    dtype: str
    """Precision of the stored rows."""
    model_dtype: str
    """Precision in which the model ran."""
    source: str
    """The spec of the pairs."""
    fingerprint: str
    """Hash of what the source held."""
    reading: str | None = None
    """Rules by which the source's files became captions and pictures; None for a source without
    files, and for what earlier versions made."""
    transform_id: str | None = None
    """Which image transform; None where it is not known."""
    tokenizer_id: str | None = None
    """Which tokenizer; None where it is not known, and without a text tower."""

    @property
    def key(self) -> str:
        """The address, 64 hexadecimal digits; where things lie and what they are called is out."""
        content = {
            name: value
            for name, value in asdict(self).items()
            if name not in _NAMES and not (name in _LATER and value is None)
        }
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def key_with(self, pictures: str | None) -> str:
        """Return the address of a store that is complete.

        Which pictures were used, and what was in their files, is only known at the end.
        """
        return sha256(f"{self.key}:{pictures}".encode()).hexdigest() if pictures else self.key

    def conflicts(self, now: "Identity", legacy_weights_id: str | None = None) -> dict[str, str]:
        """Return in words where this identity cannot be that of ``now``.

        Parameters
        ----------
        now
            What is asked for.
        legacy_weights_id
            What earlier versions called the weights of ``now``.

        Returns
        -------
        dict
            A phrase for each field that differs. What one side does not know conflicts with
            nothing; see :meth:`unchecked`.
        """
        found = {}
        for name, there in asdict(self).items():
            here = getattr(now, name)
            if there == here or name in _NAMES:
                continue
            if name in _WORDS and None in (there, here):
                continue
            if name == "weights_id" and there == legacy_weights_id:
                continue
            meaning = f" ({_MEANINGS[name]})" if name in _MEANINGS else ""
            found[name] = f"{name} {there!r} there, {here!r} now{meaning}"
        return found

    def unchecked(self, now: "Identity") -> list[str]:
        """Return in words what cannot be compared, since one of the two does not know it."""
        words = [
            word
            for name, word in _WORDS.items()
            if (getattr(self, name) is None) != (getattr(now, name) is None)
        ]
        if self.weights_id != now.weights_id:
            words.insert(0, "the model's configuration")
        return words
