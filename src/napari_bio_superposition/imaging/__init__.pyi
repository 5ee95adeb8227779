# Public names of this room and where they live.

from .cell_death import choose_threshold as choose_threshold
from .cell_death import explain_threshold as explain_threshold
from .cell_death import measure_death_dye as measure_death_dye
from .cell_death import score_cell_death as score_cell_death
from .cell_death_config import CellDeathConfig as CellDeathConfig
from .fields import open_fields as open_fields
from .patch_config import PatchConfig as PatchConfig
from .patch_store import PatchStore as PatchStore
from .patches import check_pixel_size as check_pixel_size
from .patches import extract_patches as extract_patches
from .read import read_field as read_field
from .read import read_image as read_image
from .read_config import ReadConfig as ReadConfig
from .roles import guess_roles as guess_roles
from .roles import parse_roles as parse_roles
from .roles import resolve_roles as resolve_roles
from .simulate import sample_image as sample_image
from .simulate import simulate_study as simulate_study
from .simulate import write_study as write_study
from .simulation_config import SimulationConfig as SimulationConfig
from .write import write_image as write_image
from .write import write_labels as write_labels
