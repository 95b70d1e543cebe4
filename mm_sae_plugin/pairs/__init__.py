"""Image–text pairs from wherever they lie: tables, folders, shards, data sets, FactorWorld."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
