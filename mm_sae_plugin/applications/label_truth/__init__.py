"""How true labels of modality are: a sweep over dictionaries trained on the embedded world.

`grid` lists the cells, `cell` trains and checks one, `check` makes its rows, `workers` runs cells
in processes, and `sweep` keeps what is finished and puts it together.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
