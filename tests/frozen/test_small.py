"""Our own small networks see each image alone and pass a gradient to all of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jfsr.frozen import zoo


@pytest.fixture(scope="module", params=["small_pose", "small_identity"])
def small(request):
    net = zoo.network(request.param)
    return net, jax.jit(net.module.init)(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


def test_a_small_network_sees_each_image_alone_and_passes_a_gradient_to_all_of_it(small):
    net, variables = small
    x = jax.random.uniform(jax.random.key(1), (3, 64, 64, 3))
    run = jax.jit(lambda i: jax.tree.leaves(net.apply(variables, i)))
    outputs, back = jax.vjp(run, x)
    alone = run(x[1:2])
    for together, single in zip(outputs, alone, strict=True):
        np.testing.assert_allclose(together[1], single[0], atol=1e-5)
    (gradient,) = back([jnp.zeros_like(o).at[1].set(1.0) for o in outputs])
    assert not np.any(gradient[::2])
    assert np.isfinite(gradient).all()
    assert np.all(np.abs(gradient[1]).sum(-1) > 0)
