"""The card refuses shapes that would never finish loading."""

import pytest

from napari_bio_superposition.core.errors import ConfigError
from napari_bio_superposition.models.card import ModelCard


@pytest.mark.parametrize("blocks", [(1, 1, 1), (1, 1, 1, 0), (1, 1, 1, 1_000_000_000)])
def test_blocks_that_no_encoder_has_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="four numbers of blocks from 1 to 64"):
        ModelCard(name="a", channel_roles=("nuclei",), width=8, blocks=blocks, n_latents=4)
