"""``mm-sae hooks``."""

from dataclasses import dataclass, field

from mm_sae_plugin.commands.model_choice import ModelChoice


@dataclass(frozen=True)
class HooksCommand:
    """List a model's hook points with the shapes of their activations."""

    choice: ModelChoice = field(default_factory=ModelChoice)

    def run(self) -> None:
        """Print one line per hook point."""
        shapes = self.choice.load().hook_shapes()
        width = max(len(name) for name in shapes)
        for name, shape in shapes.items():
            print(f"{name:{width}}  [{', '.join(str(size) for size in shape)}]")
