from .editing import similarities as similarities
from .explorer import Explorer as Explorer
from .heat import heat_map as heat_map
from .naming import NameAccuracy as NameAccuracy
from .page import (
    Example as Example,
    Histogram as Histogram,
    LatentPage as LatentPage,
    Neighbour as Neighbour,
    ScoreOfLatent as ScoreOfLatent,
)
from .weights import WordWeight as WordWeight, word_weights as word_weights
