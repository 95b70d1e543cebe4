from .config import SweepConfig as SweepConfig
from .grid import Cell as Cell, grid as grid
from .sweep import Sweep as Sweep, run_sweep as run_sweep
