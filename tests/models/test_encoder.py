"""Semantics of the residual block, taps, weight normalisation, and what decides the weights."""

import pytest
import torch

from napari_bio_superposition.core.errors import ConfigError, ModelError
from napari_bio_superposition.models.encoder import (
    PRESETS,
    Encoder,
    EncoderConfig,
    ResidualBlock,
    create_network,
    normalize_weights,
    use_channels_last,
)

TINY = EncoderConfig(width=16, blocks=(1, 1, 1, 2))


@pytest.fixture
def encoder() -> Encoder:
    """Return a small encoder with random weights."""
    return create_network(TINY, rng=torch.Generator().manual_seed(1)).encoder.eval()


def test_the_skip_branch_carries_the_rectified_input():
    block = ResidualBlock(1, 1)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.tensor([[-2.0, 3.0]]).reshape(1, 1, 1, 2)
    assert block(x).flatten().tolist() == [0.0, 3.0]  # a textbook block would return -2


def test_the_input_of_a_block_is_not_changed(encoder):
    x = torch.randn(1, 16, 4, 4)
    before = x.clone()
    encoder.stage5.blocks[0](x)
    torch.testing.assert_close(x, before)


def test_a_block_projects_only_where_the_width_changes(encoder):
    assert encoder.stage2.blocks[0].proj.weight.shape == (4, 2, 1, 1)
    assert encoder.stage2.blocks[0].proj.bias is None
    assert encoder.stage5.blocks[0].proj is None


def test_taps_follow_one_another(encoder):
    patches = torch.randn(2, 3, 32, 32)
    middle = encoder(patches, "stage5_mid")
    last = encoder(patches, "stage5_out")
    refined = encoder(patches, "refine_out")
    assert middle.shape == last.shape == refined.shape == (2, 16, 16, 16)
    torch.testing.assert_close(encoder.stage5.blocks[-1](middle), last)
    torch.testing.assert_close(encoder.refine.blocks[0](last), refined)
    assert (last < 0).any()  # block outputs are signed


def test_early_taps_do_not_run_later_layers(encoder):
    encoder.refine.blocks[0].register_forward_hook(lambda *_: pytest.fail("refine was run"))
    encoder(torch.randn(1, 3, 32, 32), "stage5_out")


def test_an_unknown_tap_lists_the_taps(encoder):
    with pytest.raises(ModelError, match="stage5_mid, stage5_out, refine_out"):
        encoder(torch.randn(1, 3, 32, 32), "stage4")


def test_channels_last_gives_the_same_map(encoder):
    patches = torch.randn(2, 3, 32, 32)
    expected = encoder(patches)
    use_channels_last(encoder)
    torch.testing.assert_close(
        encoder(patches.contiguous(memory_format=torch.channels_last)), expected
    )


def test_weights_are_normalised_per_output_channel_and_biases_stay(encoder):
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.fill_(3.0)
    normalize_weights(encoder)
    kernel = encoder.stage3.blocks[0].c1.weight
    torch.testing.assert_close(kernel.flatten(1).norm(dim=1), torch.ones(len(kernel)))
    assert encoder.stage3.blocks[0].c1.bias.unique().tolist() == [3.0]


def test_only_the_given_generator_decides_the_weights():
    state = torch.random.get_rng_state()
    first = create_network(TINY, rng=torch.Generator().manual_seed(3)).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    second = create_network(TINY, rng=torch.Generator().manual_seed(3)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_embeddings_are_unit_vectors():
    network = create_network(TINY, rng=torch.Generator().manual_seed(1))
    torch.testing.assert_close(network(torch.randn(3, 3, 32, 32))[0].norm(dim=1), torch.ones(3))


def test_presets_and_their_checks():
    assert PRESETS["paper"] == EncoderConfig(width=512, blocks=(2, 2, 2, 3))
    with pytest.raises(ConfigError, match="multiple of 8"):
        EncoderConfig(width=20)
    with pytest.raises(ConfigError, match="four numbers"):
        EncoderConfig(blocks=(1, 1, 1, 0))
