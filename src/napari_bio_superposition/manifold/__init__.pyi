# Public names of this room and where they live.

from .embedding import describe_embedding as describe_embedding
from .embedding import embed as embed
from .embedding_config import PRESETS as PRESETS
from .embedding_config import EmbeddingConfig as EmbeddingConfig
from .embedding_config import choose_preset as choose_preset
from .preprocessing import preprocess as preprocess
