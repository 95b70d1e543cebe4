"""The options that choose a model, shared by the verbs that run one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelChoice:
    """Which model to look into."""

    model: str = "factorworld"
    """`factorworld`, `factorworld-declip`, an open_clip model name, or `hf:ID_OR_FOLDER`."""
    pretrained: str | None = None
    """For an open_clip model: a tag of pretrained weights, or a checkpoint file."""

    def load(self):
        """Load the model as a ``HookedCLIP``."""
        from mm_sae_plugin.models import load_model

        return load_model(self.model, self.pretrained)
