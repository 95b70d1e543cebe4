"""Training a shared SAE on paired activations with SAELens' own trainer.

The names are resolved on first use, so that importing the config costs nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
