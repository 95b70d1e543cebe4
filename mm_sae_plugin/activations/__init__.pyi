from .config import ExtractConfig as ExtractConfig
from .extract import extract as extract, extract_several as extract_several
from .manifest import SideStatistics as SideStatistics, StoreManifest as StoreManifest
from .partitions import PairBatch as PairBatch, Partition as Partition
from .store import ActivationStore as ActivationStore
