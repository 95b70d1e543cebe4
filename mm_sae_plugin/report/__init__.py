"""What a person reads: one self-contained HTML page, and a table for the terminal."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
