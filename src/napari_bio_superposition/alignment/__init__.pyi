from .config import CouplingConfig as CouplingConfig
from .coupling import Coupling as Coupling
from .procedure import couple as couple
from .scores import score_labels as score_labels
from .scores import score_pairs as score_pairs
