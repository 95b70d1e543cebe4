"""Statistics of latents over image–text pairs: sums, scores, intervals, classes, nulls, truth.

The names are resolved on first use, so that importing a config costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
