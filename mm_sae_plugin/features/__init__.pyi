from .feature_map import FeatureMap as FeatureMap
from .raw import RawDimensions as RawDimensions
from .sae import SAEFeatureMap as SAEFeatureMap
