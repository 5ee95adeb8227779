# Public names of this room and where they live.

from .geometry import DirectionGeometry as DirectionGeometry
from .geometry import effective_rank as effective_rank
from .geometry import match_directions as match_directions
from .geometry import measure_directions as measure_directions
from .geometry import welch_bound as welch_bound
from .intervals import Interval as Interval
from .intervals import bootstrap_groups as bootstrap_groups
from .nulls import permutation_p as permutation_p
from .nulls import permute_groups as permute_groups
from .nulls import permute_within as permute_within
from .probes import ProbeResult as ProbeResult
from .probes import linear_probe as linear_probe
from .probes import unit_rows as unit_rows
from .recovery import Places as Places
from .recovery import best_agreeing as best_agreeing
from .recovery import best_correlated as best_correlated
from .regression import Regression as Regression
from .regression import predict_by_wells as predict_by_wells
from .similarity import compare_features as compare_features
from .similarity import linear_cka as linear_cka
from .splicing import LossRecovered as LossRecovered
from .splicing import loss_recovered as loss_recovered
from .splits import Split as Split
from .splits import split_groups as split_groups
