from .config import HookedCLIPConfig as HookedCLIPConfig
from .hooked_clip import HookedCLIP as HookedCLIP
from .load import load_model as load_model
