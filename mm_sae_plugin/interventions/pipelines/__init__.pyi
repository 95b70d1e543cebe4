from .interruption import Interruption as Interruption, interruptible as interruptible
from .sites import EDIT_SITES as EDIT_SITES, EditSite as EditSite, find_site as find_site
from .steering import steer_pipeline as steer_pipeline
