"""Steering what a generator draws, or a search finds, by latents of one modality class.

`mixing` builds edits that pull a prompt towards a reference class by class, and `arms` the ways of
moving a vector that they are compared with. `Painter` draws a prompt before and after an edit,
`Gallery` searches with one, and `read_against` says what changed in a picture.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
