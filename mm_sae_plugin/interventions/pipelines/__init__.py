"""Where the joint vector flows in pipelines of diffusers, and edits of it while a picture is made.

The names are resolved on first use, so that importing the package stays cheap.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
