from .engine import Engine as Engine
from .processes import ProcessEngine as ProcessEngine
from .ray_data import RayEngine as RayEngine
from .threads import ThreadEngine as ThreadEngine
