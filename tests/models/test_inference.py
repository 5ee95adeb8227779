"""Pooling in streaming memory: equal to the maps, whatever the batch, the chunk, the memory."""

import numpy as np
import pytest
import torch

from napari_bio_superposition.core.errors import DeviceError, ModelError
from napari_bio_superposition.core.progress import run
from napari_bio_superposition.models.inference import TokenCache, encode_patches, latent_maps
from napari_bio_superposition.models.memory import choose_batch_size, is_out_of_memory


def full_activations(model, pixels) -> torch.Tensor:
    """Return all activations ``(n, token, latent)``, as nobody should compute them."""
    with torch.no_grad():
        tokens = model.prepare(model.feature_map(torch.from_numpy(pixels)))
        activations = model.sae.encode(tokens.unit)
    return activations * tokens.norms[..., None] if model.card.norm_restored else activations


@pytest.mark.parametrize("norm_restored", [True, False])
@pytest.mark.parametrize("centring", ["dataset", "image", "none"])
def test_pooled_features_are_those_of_all_activations(
    make_model, tiny_patches, norm_restored, centring
):
    model = make_model(norm_restored=norm_restored, centring=centring)
    encoded = run(encode_patches(model, tiny_patches))
    activations = full_activations(model, tiny_patches)
    assert 0.02 < encoded.firing.mean() < 0.9  # gates are neither all open nor all closed
    np.testing.assert_allclose(encoded.activations, activations.mean(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(encoded.maxima, activations.amax(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(encoded.squares, activations.square().mean(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(encoded.firing, (activations > 0).float().mean(1), atol=1e-2)


def test_results_do_not_depend_on_the_batch(tiny_model, tiny_patches):
    one = run(encode_patches(tiny_model, tiny_patches, batch_size=1))
    all_at_once = run(encode_patches(tiny_model, tiny_patches, batch_size=7))
    np.testing.assert_allclose(one.activations, all_at_once.activations, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(one.cnn, all_at_once.cnn, rtol=1e-3, atol=1e-5)


def test_maps_of_chosen_latents_average_to_the_pooled_features(tiny_model, tiny_patches):
    encoded = run(encode_patches(tiny_model, tiny_patches, keep_tokens=True))
    latents = [20, 3, 3, 11]
    maps = latent_maps(tiny_model, encoded.tokens, latents)
    assert maps.shape == (4, 7, 16, 16)
    assert maps.dtype == np.float32
    pooled = encoded.activations[:, latents].T
    np.testing.assert_allclose(maps.mean((2, 3)), pooled, atol=2e-3 * pooled.max())
    everywhere = full_activations(tiny_model, tiny_patches)[..., latents]
    expected = everywhere.reshape(7, 16, 16, 4).permute(3, 0, 1, 2).numpy()
    flipped = (maps > 0) != (expected > 0)
    assert flipped.mean() < 2e-3  # half precision of the cache, gates near their threshold
    np.testing.assert_allclose(maps[~flipped], expected[~flipped], atol=2e-3 * expected.max())


def test_the_cnn_has_the_same_preprocessing(make_model, tiny_patches):
    for norm_restored in (True, False):
        model = make_model(norm_restored=norm_restored)
        tokens = model.prepare(model.feature_map(torch.from_numpy(tiny_patches)))
        expected = (tokens.restored if norm_restored else tokens.unit).mean(1)
        encoded = run(encode_patches(model, tiny_patches))
        np.testing.assert_allclose(encoded.cnn, expected, rtol=1e-4, atol=1e-6)


def test_running_out_of_memory_halves_the_batch_and_says_so(tiny_model, tiny_patches):
    expected = run(encode_patches(tiny_model, tiny_patches, batch_size=1))

    def refuse_more_than_two(_, args):
        if len(args[0]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    tiny_model.encoder.register_forward_pre_hook(refuse_more_than_two)
    reports = []
    encoded = run(encode_patches(tiny_model, tiny_patches, batch_size=7), reports.append)
    notices = [progress.notice for progress in reports if progress.notice]
    assert notices == [
        "Memory ran out on cpu; going on with batches of 3.",
        "Memory ran out on cpu; going on with batches of 1.",
    ]
    assert reports[-1].fraction == 1.0
    np.testing.assert_allclose(encoded.activations, expected.activations, rtol=1e-3, atol=1e-5)


def test_memory_for_not_even_one_patch_is_an_error(tiny_model, tiny_patches):
    def refuse(*_):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    tiny_model.encoder.register_forward_pre_hook(refuse)
    with pytest.raises(DeviceError, match="one patch"):
        run(encode_patches(tiny_model, tiny_patches))


def test_other_errors_are_not_swallowed(tiny_model, tiny_patches):
    def fail(*_):
        raise RuntimeError("something else")

    tiny_model.encoder.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="something else"):
        run(encode_patches(tiny_model, tiny_patches))


def test_a_job_can_be_closed_between_batches(tiny_model, tiny_patches):
    seen = []
    tiny_model.encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    job = encode_patches(tiny_model, tiny_patches, batch_size=2)
    next(job)
    next(job)
    job.close()
    assert seen == [2]


def test_no_patches_give_empty_results(tiny_model, tiny_patches):
    encoded = run(encode_patches(tiny_model, tiny_patches[:0], keep_tokens=True))
    assert encoded.activations.shape == (0, 24)
    assert latent_maps(tiny_model, encoded.tokens, [1]).shape == (1, 0, 16, 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :2], "mitochondria, lysosomes, nuclei"),
        (lambda x: x[:, :, :16], "side"),
        (lambda x: x.astype(np.float64), "float32"),
        (lambda x: x[:, :, :4, :4], "8 x 8"),
        (lambda x: np.where(x > 0.5, np.nan, x), "finite"),
    ],
)
def test_patches_that_do_not_fit_are_refused(tiny_model, tiny_patches, change, message):
    with pytest.raises(ModelError, match=message):
        run(encode_patches(tiny_model, change(tiny_patches)))


def test_latents_and_tokens_that_do_not_fit_are_refused(tiny_model, tiny_patches, make_model):
    tokens = run(encode_patches(tiny_model, tiny_patches, keep_tokens=True)).tokens
    with pytest.raises(ModelError, match="0 to 23"):
        latent_maps(tiny_model, tokens, [24])
    narrow = TokenCache(tokens.unit[..., :8], tokens.norms, tokens.map_shape)
    with pytest.raises(ModelError, match="8 channels"):
        latent_maps(tiny_model, narrow, [0])


def test_the_batch_size_follows_work_and_memory(tiny_model):
    assert choose_batch_size(tiny_model, side=32) >= 4
    assert choose_batch_size(tiny_model, side=8192) == 1


def test_what_running_out_of_memory_looks_like():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
