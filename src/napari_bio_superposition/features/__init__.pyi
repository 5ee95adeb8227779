# Public names of this room and where they live.

from .differential import DifferentialConfig as DifferentialConfig
from .differential import compare_groups as compare_groups
from .differential import volcano as volcano
from .overlays import assemble_overlay as assemble_overlay
from .overlays import composite as composite
from .overlays import contour_lines as contour_lines
from .overlays import fixed_scale as fixed_scale
from .overlays import image_scale as image_scale
from .overlays import render_overlay as render_overlay
from .ranking import rank_by_activation as rank_by_activation
from .ranking import rank_class_features as rank_class_features
from .ranking import top_patches as top_patches
from .region_statistics import RegionQueryConfig as RegionQueryConfig
from .regions import nuclei_region as nuclei_region
from .regions import patches_in_region as patches_in_region
from .regions import patches_region as patches_region
from .regions import split_regions as split_regions
from .table import build_manifest as build_manifest
from .table import build_table as build_table
from .table import concat_tables as concat_tables
from .table import read_provenance as read_provenance
from .table import read_table as read_table
from .table import write_table as write_table
