"""Everything about every latent, ready to be asked for: the library behind the explorer.

`explorer` opens a study and its `cache`, which one pass (`sums`) fills; `page` is all about one
latent, `naming` suggests names, `word_weights` and `heat_map` say where in a caption or a picture a
latent fires.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
