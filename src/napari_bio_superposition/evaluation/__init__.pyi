# Public names of this room and where they live.

from .probes import ProbeResult as ProbeResult
from .probes import linear_probe as linear_probe
from .probes import unit_rows as unit_rows
from .splits import Split as Split
from .splits import split_groups as split_groups
