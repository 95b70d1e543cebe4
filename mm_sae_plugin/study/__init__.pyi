from .asking import ActiveLatent as ActiveLatent
from .study import Study as Study
