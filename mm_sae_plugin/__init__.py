"""Sparse autoencoders for models that see images and read text, beside SAELens.

Public names are loaded when they are first used, so that importing the package stays cheap.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
