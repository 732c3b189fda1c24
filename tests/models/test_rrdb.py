"""ESRGAN's network and its trunk: parity with PyTorch, gradients, and the compiled loop over blocks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.networks import FAST_KEY, KEY, drawn, image, nonzero_everywhere

from jfsr.models.rrdb import RRDBNet, RRDBTrunk

SMALL = {"features": 8, "growth": 4}


def test_initial_kernels_have_the_spread_of_esrgan():
    params = jax.jit(RRDBTrunk(blocks=2, conv_first=True).init)(FAST_KEY, jnp.zeros((1, 4, 4, 3)))["params"]
    kernel = params["blocks"]["rdb2"]["conv4"]["kernel"]  # [block, 3, 3, 160, 32]
    assert kernel.shape[0] == 2
    assert not np.allclose(kernel[0], kernel[1])
    for one in kernel:
        np.testing.assert_allclose(one.std(), 0.1 * np.sqrt(2 / (9 * 160)), rtol=0.03)
    first = params["conv_first"]["kernel"]
    np.testing.assert_allclose(np.abs(first).max(), 1 / np.sqrt(27), rtol=0.02)
    assert jnp.all(params["conv_first"]["bias"] == 0)


def outputs_and_grads(net, variables, x):
    """The output and the gradients of its mean square, from one compiled program."""

    def loss(params):
        y = net.apply({"params": params}, x)
        return jnp.mean(y**2), y

    (_, y), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return y, grads


@pytest.fixture(scope="module")
def small():
    """A small RRDBNet: variables, input, output, gradients."""
    x = image(2, 5, 6, 3)
    net = RRDBNet(blocks=2, unroll=1, **SMALL)
    variables = drawn(net, x)
    return variables, x, *outputs_and_grads(net, variables, x)


def test_rrdbnet_equals_pytorch(small):
    pytest.importorskip("torch")
    import torch
    from support.reference.rrdb_torch import RRDBNet as TorchNet
    from support.reference.rrdb_torch import rrdbnet_from

    assert sum(p.numel() for p in TorchNet().parameters()) == 16_697_987  # as in test_counts.py
    variables, x, ours, _ = small
    with torch.no_grad():
        theirs = rrdbnet_from(variables["params"], blocks=2, **SMALL)(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
    assert ours.shape == (2, 20, 24, 3)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_every_parameter_of_rrdbnet_learns(small):
    nonzero_everywhere(small[-1])


def test_one_tree_of_parameters_however_the_loop_is_compiled():
    """Rolled, unrolled, rematerialised: the same tree, outputs and gradients; all of them nonzero."""
    x, results, trees = image(1, 4, 4, 3), [], []
    for options in ({"unroll": 1}, {"unroll": None}, {"unroll": 1, "remat": True}, {"unroll": 2, "remat": True}):
        net = RRDBTrunk(blocks=2, conv_first=True, **SMALL, **options)
        trees.append(jax.eval_shape(net.init, KEY, x))
        variables = drawn(net, x)
        results.append(outputs_and_grads(net, variables, x))
        loops = str(jax.make_jaxpr(lambda p, net=net: net.apply(p, x))(variables)).count("unroll=1\n")
        assert loops == (1 if options["unroll"] == 1 else 0)
    assert all(tree == trees[0] for tree in trees[1:])
    for result in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), results[0], result)
    nonzero_everywhere(results[0][1])


def test_remat_is_in_the_program():
    x = jnp.zeros((1, 4, 4, 3))
    for remat in (False, True):
        net = RRDBNet(blocks=2, remat=remat, unroll=1, **SMALL)
        jaxpr = str(jax.make_jaxpr(lambda x, net=net: net.init_with_output(KEY, x)[0])(x))
        assert ("prevent_cse=False" in jaxpr) == remat


def test_one_block_is_no_loop():
    """`lax.scan` would make a loop of it, whose derivative is about ten times slower on CPU."""
    x = jnp.zeros((1, 4, 4, 8))
    for blocks, unroll in [(1, None), (1, 1), (2, None), (2, 2)]:
        net = RRDBTrunk(blocks=blocks, unroll=unroll, **SMALL)
        text = jax.jit(net.apply).lower(jax.eval_shape(net.init, KEY, x), x).as_text()
        assert "stablehlo.while" not in text, (blocks, unroll)
