"""Outputs mean what the entries say: angles from bins, distances from perceptual networks alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfsr import losses
from jfsr.frozen import zoo
from jfsr.frozen.network import decode_bins


def test_decoded_angles_of_certain_and_of_undecided_logits():
    certain = 1e4 * jax.nn.one_hot(jnp.array([[0, 32, 65]]), 66)
    np.testing.assert_allclose(decode_bins(certain, centre=False), [[-99, -3, 96]], atol=1e-4)
    np.testing.assert_allclose(decode_bins(certain, centre=True), [[-97.5, -1.5, 97.5]], atol=1e-4)
    undecided = jnp.zeros((1, 3, 66))
    np.testing.assert_allclose(decode_bins(undecided, centre=False), [[-1.5] * 3], atol=1e-4)
    np.testing.assert_allclose(decode_bins(undecided, centre=True), [[0.0] * 3], atol=1e-4)
    between = jnp.log(jnp.full((1, 3, 66), 1e-20).at[..., 40].set(0.25).at[..., 42].set(0.75))
    np.testing.assert_allclose(decode_bins(between, centre=False), [[-99 + 3 * 41.5] * 3], atol=1e-3)


def test_the_zoo_decodes_hopenet_at_left_edges_and_lightpose_at_centres():
    certain = 1e4 * jax.nn.one_hot(jnp.array([[33, 33, 33]]), 66)
    np.testing.assert_allclose(zoo.network("hopenet").decode(certain), [[0.0] * 3], atol=1e-4)
    np.testing.assert_allclose(zoo.network("lightpose").decode(certain), [[1.5] * 3], atol=1e-4)


def test_an_angle_decoded_at_a_centre_lies_in_the_bin_that_the_loss_asks_for():
    for i in (0, 17, 65):
        logits = 1e4 * jax.nn.one_hot(jnp.full((1, 3), i), 66)
        decoded = decode_bins(logits, centre=True)
        cross_entropy, squared = losses.pose_estimation(logits, decoded, decoded)
        assert float(cross_entropy[0]) == 0.0
        assert float(squared[0]) == 0.0


@pytest.mark.parametrize("name", ["small_pose", "lightcnn9", "vgg19"])
def test_other_kinds_give_no_distance(name):
    image = jnp.zeros((1, 32, 32, 3))
    with pytest.raises(ValueError, match=f"{name} is of kind '.*'; lpips_alex or lpips_vgg"):
        zoo.network(name).distance({}, image, image)
