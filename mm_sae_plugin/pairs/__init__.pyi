from .columns import Columns as Columns
from .images import (
    DEFAULT_BACKGROUND as DEFAULT_BACKGROUND,
    DEFAULT_MAX_PIXELS as DEFAULT_MAX_PIXELS,
    BadImage as BadImage,
    ImageReader as ImageReader,
    Picture as Picture,
    decode_image as decode_image,
)
from .loading import load_pairs as load_pairs, open_images as open_images
from .openers import PictureOpener as PictureOpener
from .records import (
    ImageKey as ImageKey,
    ImageOpener as ImageOpener,
    ListedPairs as ListedPairs,
    PairRecord as PairRecord,
    PairSource as PairSource,
)
