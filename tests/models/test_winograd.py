"""Winograd convolutions: equal to the library's, never stale, closed to gradients."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_bio_superposition.models.encoder import EncoderConfig, create_network, use_channels_last
from napari_bio_superposition.models.winograd import (
    Convolution3x3,
    convolve,
    pays_off,
    transform_kernel,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def relative_error(result: torch.Tensor, x: torch.Tensor, weight, bias) -> float:
    exact = functional.conv2d(x.double(), weight.double(), bias, padding=1)
    return float((result - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize(
    "shape", [(1, 5, 8, 8), (3, 4, 7, 9), (1, 3, 1, 1), (2, 6, 13, 4), (1, 2, 200, 201)]
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_equal_to_the_librarys_convolution(shape, layout):
    x = random(*shape).contiguous(memory_format=layout)
    weight, bias = random(7, shape[1], 3, 3, seed=1), random(7, seed=2)
    result = convolve(x, transform_kernel(weight), bias)
    assert result.shape == (shape[0], 7, *shape[2:])
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert relative_error(result, x, weight, bias.double()) < 1e-5
    assert relative_error(convolve(x, transform_kernel(weight), None), x, weight, None) < 1e-5


def test_the_result_does_not_depend_on_the_number_of_threads():
    layer, x = wide_layer(), random(2, 128, 61, 64)
    default = torch.get_num_threads()
    try:
        results = []
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            results.append(layer(x))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(default)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_a_kernel_of_one_tap_copies_its_channel():
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1.0
    x = random(1, 1, 9, 6)
    torch.testing.assert_close(convolve(x, transform_kernel(weight), None), x, atol=1e-5, rtol=0)


def wide_layer() -> Convolution3x3:
    layer = Convolution3x3(128, 128).eval().requires_grad_(False)
    layer.weight.copy_(random(128, 128, 3, 3, seed=1) / 34)
    return layer


def test_the_layer_takes_the_fast_way_for_inference_only(monkeypatch):
    layer, x = wide_layer(), random(1, 128, 32, 32)
    used = []
    monkeypatch.setattr(
        "napari_bio_superposition.models.winograd.convolve",
        lambda *args: used.append(1) or convolve(*args),
    )
    assert relative_error(layer(x), x, layer.weight, layer.bias.double()) < 1e-4
    assert used == [1]
    layer(x.requires_grad_()).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        layer.train()(x)
    layer.eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x.detach()).dtype == torch.bfloat16
    layer.double()(x.detach().double())
    assert used == [1]


@pytest.mark.parametrize(
    ("n_in", "n_out", "side", "expected"),
    [(128, 128, 32, True), (64, 128, 64, False), (128, 64, 64, False), (128, 128, 16, False)],
)
def test_narrow_layers_and_small_maps_stay_with_the_library(n_in, n_out, side, expected):
    weight = torch.empty(n_out, n_in, 3, 3)
    assert pays_off(torch.empty(1, n_in, side, side), weight) == expected


def test_changed_weights_are_seen():
    layer, x = wide_layer(), random(1, 128, 32, 32)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(2)
        layer.bias.mul_(2)
    torch.testing.assert_close(layer(x), 2 * before, atol=1e-4, rtol=0)
    layer.load_state_dict({name: value / 2 for name, value in layer.state_dict().items()})
    torch.testing.assert_close(layer(x), before, atol=1e-4, rtol=0)
    layer.load_state_dict(
        {name: value * 3 for name, value in layer.state_dict().items()}, assign=True
    )
    torch.testing.assert_close(layer(x), 3 * before, atol=1e-3, rtol=0)
    optimizer = torch.optim.SGD(layer.train().requires_grad_().parameters(), lr=0.1)
    layer(x).sum().backward()
    optimizer.step()
    layer.eval().requires_grad_(False)
    assert relative_error(layer(x), x, layer.weight, layer.bias.double()) < 1e-4


def test_weights_made_in_inference_mode_work_too():
    with torch.inference_mode():
        layer, x = wide_layer(), random(1, 128, 32, 32)
        assert relative_error(layer(x), x, layer.weight, layer.bias.double()) < 1e-4


def test_the_transformed_kernel_is_neither_saved_nor_copied():
    layer, x = wide_layer(), random(1, 128, 32, 32)
    expected = layer(x)
    assert set(layer.state_dict()) == {"weight", "bias"}
    twin = copy.deepcopy(layer)
    assert twin._transformed._kernel is None
    torch.testing.assert_close(twin(x), expected)
    stream = io.BytesIO()
    torch.save(layer, stream)
    assert stream.tell() < 1.1 * 4 * 9 * 128**2
    layer.train()
    assert layer._transformed._kernel is None


def test_the_encoder_gives_what_the_plain_one_gives():
    config = EncoderConfig(width=256, blocks=(1, 1, 1, 1))
    encoder = create_network(config, rng=torch.Generator().manual_seed(0)).encoder
    use_channels_last(encoder.eval().requires_grad_(False))
    patches = random(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    fast = encoder(patches)
    slow = encoder.train()(patches)
    assert sum(isinstance(module, nn.Conv2d) for module in encoder.modules()) == 1 + 10 + 3
    error = (fast - slow).abs().max() / slow.abs().max()
    assert 0 < float(error) < 1e-4
