from .dense import dense_codes as dense_codes
from .feature_map import Decodable as Decodable, FeatureMap as FeatureMap
from .raw import RawDimensions as RawDimensions
from .sae import SAEFeatureMap as SAEFeatureMap
