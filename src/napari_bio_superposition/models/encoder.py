"""The convolutional encoder of the paper, its projector, and weight normalisation. No training."""

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_bio_superposition.core.errors import ModelError, list_choices
from napari_bio_superposition.models.card import TAPS
from napari_bio_superposition.models.encoder_config import PRESETS as PRESETS
from napari_bio_superposition.models.encoder_config import EncoderConfig as EncoderConfig
from napari_bio_superposition.models.winograd import Convolution3x3


class ResidualBlock(nn.Module):
    """Pre-activation block whose skip branch carries the rectified input.

    ``y = P(ReLU(x)) + W2 * ReLU(W1 * ReLU(x))``, with ``P`` the identity unless the width changes
    (method specification, 5.1). A textbook block would skip with ``x`` itself: another network.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.c1 = Convolution3x3(n_in, n_out)
        self.c2 = Convolution3x3(n_out, n_out)
        self.proj = nn.Conv2d(n_in, n_out, 1, bias=False) if n_in != n_out else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_in, h, w)`` to the signed ``(n, n_out, h, w)``."""
        x = functional.relu(x)
        skip = x if self.proj is None else self.proj(x)
        y: Tensor = self.c2(functional.relu(self.c1(x), inplace=True))
        return skip + y


class Stage(nn.Module):
    """Some residual blocks of one width."""

    def __init__(self, n_in: int, n_out: int, n_blocks: int) -> None:
        super().__init__()
        widths = [n_in] + [n_out] * n_blocks
        self.blocks = nn.ModuleList(ResidualBlock(*pair) for pair in itertools.pairwise(widths))


class Encoder(nn.Module):
    """Stem, stages 2 to 5 and refinement; half the patch's resolution, no normalisation layers.

    Names of the parameters are those of the published state dict, so that it loads as it is.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        n2, n3, n4, n5 = config.blocks
        self.stem = nn.Sequential(nn.Conv2d(config.n_channels, width // 8, 3, stride=2, padding=1))
        self.stage2 = Stage(width // 8, width // 4, n2)
        self.stage3 = Stage(width // 4, width // 2, n3)
        self.stage4 = Stage(width // 2, width, n4)
        self.stage5 = Stage(width, width, n5)
        self.refine = Stage(width, width, config.refine_blocks)

    def forward(self, patches: Tensor, tap: str = "refine_out") -> Tensor:
        """Return the feature map at a tap; later layers are not run.

        Parameters
        ----------
        patches
            Instance-normalised, ``(n, channel, side, side)``.
        tap
            ``stage5_mid`` (before the last block of stage 5), ``stage5_out`` or ``refine_out``.

        Returns
        -------
        Tensor
            Signed feature map, ``(n, width, side / 2, side / 2)``.
        """
        x: Tensor = self.stem(patches)
        for block in self._blocks_before(tap):
            x = block(x)
        return x

    def resume(self, feature_map: Tensor, tap: str) -> Tensor:
        """Return the map at ``refine_out`` that follows from a map at *tap*.

        ``resume(forward(patches, tap), tap)`` is ``forward(patches)``; with a changed map it tells
        what the change does to the rest of the network.
        """
        n_done = len(list(self._blocks_before(tap)))
        for block in list(self._blocks_before("refine_out"))[n_done:]:
            feature_map = block(feature_map)
        return feature_map

    def _blocks_before(self, tap: str) -> Iterator[nn.Module]:
        if tap not in TAPS:
            raise ModelError(f"No tap {tap!r}. Choose one of: {list_choices(TAPS)}.")
        trunk = [
            block
            for stage in (self.stage2, self.stage3, self.stage4, self.stage5)
            for block in stage.blocks
        ]
        yield from trunk[:-1] if tap == "stage5_mid" else trunk
        if tap == "refine_out":
            yield from self.refine.blocks


class Projector(nn.Sequential):
    """Two linear layers without bias between the pooled features and the contrastive loss."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__(
            OrderedDict(
                [
                    ("0", nn.Linear(width, expansion * width, bias=False)),
                    ("1", nn.ReLU()),
                    ("4", nn.Linear(expansion * width, width, bias=False)),
                ]
            )
        )


class ContrastiveNetwork(nn.Module):
    """Encoder and projector as they are trained: patches to unit vectors."""

    def __init__(
        self,
        encoder: Encoder,
        projector: Projector,
        *,
        pooled_l2: bool = True,
        centre_pooled: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.pooled_l2 = pooled_l2
        self.centre_pooled = centre_pooled

    def forward(self, patches: Tensor, map_at: str = "refine_out") -> tuple[Tensor, Tensor]:
        """Embed normalised patches (specification, 5.1).

        Parameters
        ----------
        patches
            Instance-normalised, ``(n, channel, side, side)``.
        map_at
            Tap of the feature map that is returned, too.

        Returns
        -------
        Tensor
            Unit embeddings, ``(n, width)``.
        Tensor
            Feature map at the tap, ``(n, width, side / 2, side / 2)``.
        """
        feature_map = self.encoder(patches, map_at)
        last = self.encoder.resume(feature_map, map_at)
        pooled = last.mean((2, 3))  # (n, width), plain mean of the signed map
        if self.centre_pooled:
            pooled = pooled - pooled.mean(0)
        if self.pooled_l2:
            pooled = functional.normalize(pooled, dim=1)
        return functional.normalize(self.projector(pooled), dim=1), feature_map


def create_network(config: EncoderConfig, *, rng: torch.Generator) -> ContrastiveNetwork:
    """Return a network with Gaussian, normalised weights and zero biases, on the CPU.

    Only *rng* decides the weights: the modules are made without storage first, because their
    constructors would draw from the global generator.
    """
    with torch.device("meta"):
        network = ContrastiveNetwork(Encoder(config), Projector(config.width))
    network.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(generator=rng)
            else:
                parameter.zero_()
    normalize_weights(network)
    return network


@torch.no_grad()
def normalize_weights(network: nn.Module) -> None:
    """Divide each output channel's weights by their norm, in place; biases stay (5.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            norms = weight.flatten(1).norm(dim=1).clamp_min(1e-12)
            weight.div_(norms.view(-1, *[1] * (weight.ndim - 1)))


@torch.no_grad()
def use_channels_last(network: nn.Module) -> None:
    """Lay kernels out for channels-last images, in place: faster, and maps are tokens already."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def centre_activations(encoder: Encoder, patches: Tensor) -> None:
    """Set biases, in place, so that no channel has a mean over these patches.

    In a random network the mean over all patches dominates the pooled features (cosines above
    0.99); without it patches differ from the first step. *patches* are normalised,
    ``(n, channel, side, side)``.
    """
    x = _centre_output(encoder.stem(patches), cast("nn.Conv2d", encoder.stem[0]))
    for block in encoder.modules():  # in the order in which they are run
        if isinstance(block, ResidualBlock):
            _centre_output(block.c1(functional.relu(x)), block.c1)
            x = _centre_output(block(x), block.c2)


def _centre_output(output: Tensor, last: nn.Conv2d) -> Tensor:
    """Take the channels' means off an output and off the bias of the layer that made it."""
    mean = output.mean((0, 2, 3))
    if last.bias is not None:
        last.bias.sub_(mean)
    return output - mean[:, None, None]
