"""The options that choose a model, shared by the verbs that run one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelChoice:
    """Which model to look into."""

    model: str = "factorworld"
    """`factorworld`, `factorworld-declip`, `factorworld-biased`, `factorworld-robust`, an open_clip
    model name, `local-dir:FOLDER`, or `hf:ID_OR_FOLDER`."""
    pretrained: str | None = None
    """For an open_clip model: a tag of pretrained weights, or a checkpoint file."""
    tokenizer: str | None = None
    """For an open_clip model: whose tokenizer to use, another name or `hf:ID_OR_FOLDER`."""
    preprocess: str | None = None
    """For an open_clip model: a JSON file with mean, std, interpolation and resize_mode, or a
    published tag with its model, `ViT-B-16-SigLIP/webli`."""
    force_quick_gelu: bool = False
    """For an open_clip model: run with QuickGELU, as OpenAI's own weights were trained."""

    def load(self):
        """Load the model as a ``HookedCLIP``."""
        from mm_sae_plugin.models import load_model

        return load_model(
            self.model,
            self.pretrained,
            tokenizer=self.tokenizer,
            preprocess=self.preprocess,
            force_quick_gelu=self.force_quick_gelu,
        )
