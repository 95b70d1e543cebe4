from .clip import edited as edited
from .edit import EditStep as EditStep, FeatureEdit as FeatureEdit
from .record import EditRecord as EditRecord
from .steer import steer as steer
