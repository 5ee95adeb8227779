# Public names and where they live; read by type checkers, and by lazy_loader at run time.

from .core.errors import BioSuperpositionError as BioSuperpositionError
from .core.keys import Keys as Keys
from .core.progress import Progress as Progress
from .core.progress import run as run
from .core.types import Acquisition as Acquisition
from .core.types import MultichannelImage as MultichannelImage
from .core.types import PatchSet as PatchSet
from .features.differential import compare_groups as compare_groups
from .features.ranking import rank_class_features as rank_class_features
from .features.regions import patches_in_region as patches_in_region
from .features.table import build_table as build_table
from .features.table import read_table as read_table
from .features.table import write_table as write_table
from .imaging.cell_death_config import CellDeathConfig as CellDeathConfig
from .imaging.patch_config import PatchConfig as PatchConfig
from .imaging.patches import extract_patches as extract_patches
from .imaging.read import read_image as read_image
from .imaging.read_config import ReadConfig as ReadConfig
from .imaging.simulate import sample_image as sample_image
from .imaging.simulate import simulate_study as simulate_study
from .imaging.simulate import write_study as write_study
from .imaging.simulation_config import SimulationConfig as SimulationConfig
from .manifold.embedding import embed as embed
from .manifold.embedding_config import EmbeddingConfig as EmbeddingConfig
from .models.catalogue import list_models as list_models
from .models.checkpoint import load_model as load_model
from .segmentation.config import SegmentationConfig as SegmentationConfig
from .segmentation.segment import segment_nuclei as segment_nuclei
from .workflows.analysis_config import AnalyzeConfig as AnalyzeConfig
from .workflows.analyze import ImageAnalysis as ImageAnalysis
from .workflows.analyze import analyze_image as analyze_image
from .workflows.analyze import overlay as overlay
from .workflows.analyze import restore_tokens as restore_tokens
from .workflows.analyze_files import analyze_files as analyze_files
from .workflows.demo import run_demo as run_demo
from .workflows.demo_config import DemoConfig as DemoConfig
from .workflows.loading import load_models as load_models
from .workflows.region_query import rank_latents as rank_latents
from .workflows.result_folder import load_analysis as load_analysis
from .workflows.result_folder import save_analysis as save_analysis
from .workflows.segment import segment_files as segment_files

__version__: str
