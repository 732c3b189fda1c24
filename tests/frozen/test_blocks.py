"""Resizing and the convolutions written out by hand equal PyTorch's and XLA's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfsr.frozen import blocks


@pytest.mark.parametrize(("before", "after"), [(64, 160), (200, 160), (128, 112)])
def test_images_are_resized_as_pytorch_does(before, after):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).uniform(size=(1, before, before, 3)).astype(np.float32)
    nchw = torch.tensor(image).permute(0, 3, 1, 2)
    resize = torch.nn.functional.interpolate
    wanted = resize(nchw, size=(after, after), mode="bilinear", align_corners=False, antialias=True).permute(0, 2, 3, 1)
    np.testing.assert_allclose(blocks.resize(jnp.asarray(image), after), wanted, atol=1e-5)


@pytest.mark.parametrize(("before", "after"), [(40, 112), (150, 112), (128, 64)])
def test_images_are_resized_and_normalised_as_pytorch_does(before, after):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).uniform(size=(1, before, before, 3)).astype(np.float32)
    nchw = torch.tensor(image).permute(0, 3, 1, 2)
    resize = torch.nn.functional.interpolate
    small = resize(nchw, size=(after, after), mode="bilinear", align_corners=False, antialias=True).permute(0, 2, 3, 1)
    wanted = (small.numpy() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(blocks.imagenet(jnp.asarray(image), after), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "k", "stride", "padding"),
    [((8, 8), 3, 1, 1), ((9, 6), 3, 2, 1), ((8, 8), 3, 2, 1), ((7, 10), 5, 2, 2), ((7, 7), 7, 1, 0), ((9, 8), 3, 3, 0)],
)
def test_depthwise_is_the_grouped_convolution(size, k, stride, padding):
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, *size, 5), (k, k, 1, 5)))
    pads = ((padding, padding), (padding, padding))
    grouped = lambda x, w: jax.lax.conv_general_dilated(
        x, w, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=5
    )
    value, back = jax.vjp(jax.jit(lambda x, w: blocks.depthwise(x, w, stride, padding)), x, w)
    wanted, wanted_back = jax.vjp(grouped, x, w)
    dy = jnp.asarray(rng.normal(size=wanted.shape), jnp.float32)
    for ours, theirs in zip([value, *back(dy)], [wanted, *wanted_back(dy)], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 4])
def test_pointwise_is_the_grouped_convolution(groups):
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 8))
    net = blocks.Pointwise(12, groups)
    variables = net.init(jax.random.key(1), x)
    theirs = jax.lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )
    np.testing.assert_allclose(net.apply(variables, x), theirs, atol=1e-5)
