from .dense import dense_codes as dense_codes
from .feature_map import Decodable as Decodable, FeatureMap as FeatureMap
from .matched_pair import MatchedPair as MatchedPair, Matching as Matching
from .ncl import NonNegativeHead as NonNegativeHead
from .nmf import NonNegativeFactors as NonNegativeFactors
from .pca import PrincipalComponents as PrincipalComponents
from .raw import RawDimensions as RawDimensions
from .sae import SAEFeatureMap as SAEFeatureMap
