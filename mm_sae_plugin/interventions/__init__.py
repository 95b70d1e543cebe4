"""What to do with codes, and where: edits of latents in any module, through hooks on the device.

The names are resolved on first use, so that importing the package stays cheap.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
