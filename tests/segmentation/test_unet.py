import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.segmentation.unet import StarDistNet, UNetConfig


def test_the_default_is_the_size_of_versatile_fluo() -> None:
    # Counted by hand from Config2D(grid=(2, 2), n_rays=32): (9 in + 1) out per convolution.
    widths = [(1, 32), (32, 32)]
    widths += [(32, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    widths += [(128, 256), (256, 128)]
    widths += [(256, 128), (128, 64), (128, 64), (64, 32), (64, 32), (32, 32), (32, 128)]
    expected = sum((9 * i + 1) * o for i, o in widths) + 129 * (1 + 32)
    net = StarDistNet(UNetConfig())
    assert sum(p.numel() for p in net.parameters()) == expected
    assert UNetConfig().divisor == (16, 16)


@settings(deadline=None, max_examples=20)
@given(
    grid=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4])),
    depth=st.integers(1, 3),
    n_convs=st.integers(1, 3),
    n_features=st.sampled_from([0, 5]),
)
def test_predictions_lie_on_the_grid(
    grid: tuple[int, int], depth: int, n_convs: int, n_features: int
) -> None:
    config = UNetConfig(
        grid=grid, depth=depth, n_convs=n_convs, n_features=n_features, n_filters=2, n_rays=5
    )
    y, x = (2 * d for d in config.divisor)
    logit, dist = StarDistNet(config)(torch.zeros(1, 1, y, x))
    assert logit.shape == (1, 1, y // grid[0], x // grid[1])
    assert dist.shape == (1, 5, y // grid[0], x // grid[1])


@pytest.mark.parametrize("grid", [(1, 1), (2, 2), (2, 4)])
def test_nothing_beyond_the_receptive_radius_matters(grid: tuple[int, int]) -> None:
    config = UNetConfig(grid=grid, depth=2, n_filters=2, n_rays=3, n_features=2)
    net = StarDistNet(config).double()
    for parameter in net.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1.0)  # positive, so that no ReLU hides a path
    radius = config.receptive_radius()
    size = tuple(d * 20 for d in config.divisor)
    # With random pixels every maximum is somewhere, so gradients reach all that can matter.
    pixels = torch.rand(1, 1, *size, dtype=torch.float64, requires_grad=True)
    for offset in range(0, config.divisor[0], grid[0]):
        cell = (size[0] // 2 + offset, size[1] // 2)
        logit, _ = net(pixels)
        (gradient,) = torch.autograd.grad(
            logit[0, 0, cell[0] // grid[0], cell[1] // grid[1]], pixels
        )
        reached = gradient[0, 0].nonzero()
        for axis in (0, 1):
            assert (reached[:, axis] - cell[axis]).abs().max() <= radius[axis]


def test_reads_the_config_that_stardist_writes(stardist_json: dict[str, object]) -> None:
    config = UNetConfig.from_stardist(stardist_json)
    assert config == UNetConfig(n_rays=8, n_filters=4, depth=2, n_features=6)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_dim", 3),
        ("n_classes", 2),
        ("backbone", "resnet"),
        ("unet_batch_norm", True),
        ("unet_activation", "elu"),
        ("n_rays", 2),
        ("n_rays", "many"),
        ("n_rays", 8.5),
        ("grid", [3, 3]),
        ("grid", None),
        ("grid", [2]),
        ("unet_kernel_size", [2, 2]),
        ("unet_n_depth", 0),
    ],
)
def test_refuses_what_it_cannot_run(
    stardist_json: dict[str, object], field: str, value: object
) -> None:
    with pytest.raises(ConfigError):
        UNetConfig.from_stardist({**stardist_json, field: value})
