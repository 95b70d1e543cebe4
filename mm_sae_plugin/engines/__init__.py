"""Where a pass over a store runs: the same task on every part, results in order.

An engine changes neither the parts nor the order in which results are handed back, so that any
number of workers gives the same bits.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
