"""``mm-sae world``."""

from dataclasses import dataclass

from mm_sae_plugin.factorworld.export import WorldConfig, export_world


@dataclass(frozen=True)
class WorldCommand(WorldConfig):
    """Write FactorWorld pairs as PNGs with a captions.csv and the truth about every factor."""

    def run(self) -> None:
        """Write the files and say where they are listed."""
        print(f"{self.pairs:,} pairs are listed in {export_world(self)}.")
