from .clip import edited as edited
from .edit import EditStep as EditStep, FeatureEdit as FeatureEdit
from .pipelines.steering import steer_pipeline as steer_pipeline
from .record import EditRecord as EditRecord
from .steer import steer as steer
