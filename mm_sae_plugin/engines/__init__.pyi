from .engine import Engine as Engine
from .processes import ProcessEngine as ProcessEngine
from .threads import ThreadEngine as ThreadEngine
