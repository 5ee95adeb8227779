# Public names of this room and where they live.

from .card import ModelCard as ModelCard
from .card import read_card as read_card
from .catalogue import find_model as find_model
from .catalogue import list_models as list_models
from .checkpoint import load_model as load_model
from .checkpoint import save_model as save_model
from .device import choose_device as choose_device
from .device import list_devices as list_devices
from .encoder_checkpoint import load_encoder as load_encoder
from .encoder_checkpoint import save_encoder as save_encoder
from .feature_model import FeatureModel as FeatureModel
from .inference import EncodedPatches as EncodedPatches
from .inference import TokenCache as TokenCache
from .inference import encode_patches as encode_patches
from .inference import latent_maps as latent_maps
from .published import import_published as import_published
from .sae_config import SaeConfig as SaeConfig
from .sae_training import train_sae as train_sae
from .training import train_encoder as train_encoder
from .training_config import ContrastiveConfig as ContrastiveConfig
from .training_config import NormalizationConfig as NormalizationConfig
