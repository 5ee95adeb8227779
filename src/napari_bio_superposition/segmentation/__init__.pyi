# Public names of this room and where they live.

from .config import SegmentationConfig as SegmentationConfig
from .model_folder import load_stardist as load_stardist
from .segment import segment_nuclei as segment_nuclei
from .stardist import StarDistModel as StarDistModel
