"""Layers: parity with PyTorch and Linen, and the loop over blocks on each platform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jfsr.models import layers


def test_pixel_shuffle_known_answer():
    # One pixel, two output channels: sub-pixels are filled row by row, channel 0 from the first four.
    x = jnp.arange(8.0).reshape(1, 1, 1, 8)
    y = layers.pixel_shuffle(x, 2)
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(y[0, :, :, 1], [[4, 5], [6, 7]])
    with pytest.raises(ValueError, match="multiple of 4 channels, got 6"):
        layers.pixel_shuffle(jnp.zeros((1, 2, 2, 6)))


@pytest.mark.parametrize(
    ("ours", "plain"),
    [
        (layers.lecun_init, nn.initializers.lecun_normal()),
        (layers.torch_conv_init, nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")),
        (layers.normal_init(0.02), nn.initializers.normal(0.02)),
    ],
)
def test_a_kernel_drawn_as_a_matrix_has_the_same_values(ours, plain):
    """So old seeds keep their networks; a stack of blocks draws each with its own key."""
    key, shape = jax.random.key(3), (3, 3, 4, 5)
    np.testing.assert_array_equal(ours(key, shape, jnp.float32), plain(key, shape, jnp.float32))
    keys = jax.random.split(key, 2)
    np.testing.assert_array_equal(jax.vmap(lambda k: ours(k, shape))(keys)[1], plain(keys[1], shape))


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_and_nearest_are_pytorchs(factor):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 2 * factor**2)).astype(np.float32)
    nchw = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    shuffled_ = torch.nn.functional.pixel_shuffle(nchw, factor).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(layers.pixel_shuffle(jnp.asarray(x), factor), shuffled_)
    nearest = torch.nn.functional.interpolate(nchw, scale_factor=factor, mode="nearest").numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(layers.upsample_nearest(jnp.asarray(x), factor), nearest)


def test_unrolling_follows_the_platform(monkeypatch):
    assert layers.resolve_unroll(None, 23) == 0
    assert layers.resolve_unroll(4, 23) == 4
    assert layers.resolve_unroll(4, 4) == 0
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert layers.resolve_unroll(None, 23) == 1


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 2), (1, 8, 8, 3)])
def test_deconv_is_the_transposed_convolution_and_so_are_its_gradients(shape):
    ours, theirs = layers.Deconv(6), nn.ConvTranspose(6, (4, 4), strides=(2, 2))
    x = jax.random.normal(jax.random.key(0), shape)
    variables = jax.jit(theirs.init)(jax.random.key(1), x)
    variables = jax.tree.map(lambda v: v + 0.1, variables)  # a bias that is not zero
    shapes = jax.eval_shape(ours.init, jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)
    weight = jax.random.normal(jax.random.key(2), (shape[0], 2 * shape[1], 2 * shape[2], 6))

    def result(module, variables, x):
        def loss(variables, x):
            y = module.apply(variables, x)
            return jnp.sum(weight * y**2), y

        (_, y), grads = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(variables, x)
        return y, grads

    both = jax.jit(lambda variables, x: [result(module, variables, x) for module in (ours, theirs)])
    (y, grads), (y_theirs, grads_theirs) = both(variables, x)
    np.testing.assert_allclose(y, y_theirs, atol=1e-5)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(grads_theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
