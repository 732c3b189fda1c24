"""MSGAN's networks: parity with PyTorch, gradients, precision; spectral norm and BatchNorm across devices."""

from __future__ import annotations

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.networks import FAST_KEY, KEY, drawn, image, nonzero_everywhere, on_devices

from jfsr.models.msgan import FeatureDiscriminator, MSGANGenerator, PatchDiscriminator, map_side, receptive_field

SMALL = {"features": 8, "growth": 4}
WIDTHS = (4, 4, 6, 6)


# ---- Generator


@pytest.fixture(scope="module")
def small():
    """A small ×16 generator: net, variables, input, images, gradients; from one compiled program."""
    net, x = MSGANGenerator(blocks=(1, 2), unroll=1, **SMALL), image(2, 3, 4, 3)
    variables = drawn(net, x)

    def loss(variables):
        images = net.apply(variables, x)
        return sum(jnp.mean(y**2) for y in images.values()), images

    (_, images), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)
    return net, variables, x, images, grads


def assert_pytorch_agrees(net, variables, x, ours):
    torch = pytest.importorskip("torch")
    from support.reference.msgan_torch import generator_from

    with torch.no_grad():
        reference = generator_from(variables["params"], scale=net.scale, blocks=net.blocks, **SMALL)
        theirs = reference(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
    assert tuple(ours) == tuple(theirs) == net.resolutions
    for r in ours:
        np.testing.assert_allclose(ours[r], theirs[r].permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_x16_equals_pytorch(small):
    assert_pytorch_agrees(*small[:4])


def test_x8_equals_pytorch():
    net, x = MSGANGenerator(scale=8, blocks=(1, 2), unroll=1, **SMALL), image(2, 3, 4, 3)
    variables = drawn(net, x)
    assert_pytorch_agrees(net, variables, x, jax.jit(net.apply)(variables, x))


def test_every_parameter_of_the_generator_learns(small):
    nonzero_everywhere(small[-1])


@pytest.mark.parametrize(("scale", "resolutions"), [(4, (64, 128)), (8, (32, 64, 128)), (16, (16, 32, 64, 128))])
def test_generator_shapes(scale, resolutions):
    net = MSGANGenerator(scale=scale, blocks=(1, 1), dtype=jnp.bfloat16, skip="bicubic", **SMALL)
    assert net.resolutions == resolutions
    nominal = 128 // scale
    for h, w in [(nominal, nominal), (5, 11)]:
        images = jax.eval_shape(lambda x: net.init_with_output(KEY, x)[0], jnp.zeros((2, h, w, 3)))
        assert tuple(images) == resolutions
        for r, x in images.items():
            assert x.shape == (2, h * r // nominal, w * r // nominal, 3)
            assert x.dtype == jnp.float32
    with pytest.raises(ValueError, match=r"scale must be one of \[4, 8, 16\], got 2"):
        MSGANGenerator(scale=2).init(KEY, jnp.zeros((1, 64, 64, 3)))
    with pytest.raises(ValueError, match=r"widths are channels at \(32, 64, 128\), one for each; got \(6, 4\)"):
        MSGANGenerator(scale=8, widths=(6, 4), **SMALL).init(KEY, jnp.zeros((1, 16, 16, 3)))
    with pytest.raises(ValueError, match="'none' or 'bicubic', got 'linear'"):
        MSGANGenerator(skip="linear", blocks=(1, 1), **SMALL).init(KEY, jnp.zeros((1, 8, 8, 3)))


def test_channels_by_resolution_and_another_size_of_the_face():
    net = MSGANGenerator(scale=8, hr_size=256, blocks=(1, 1), widths=(6, 4, 2), **SMALL)
    images, variables = jax.eval_shape(lambda x: net.init_with_output(KEY, x), jnp.zeros((1, 32, 32, 3)))
    assert {r: x.shape[1] for r, x in images.items()} == {64: 64, 128: 128, 256: 256}
    kernels = {name: layer["kernel"].shape for name, layer in variables["params"].items() if "kernel" in layer}
    assert [kernels[f"up_{r}"] for r in (64, 128, 256)] == [(3, 3, 8, 24), (3, 3, 6, 16), (3, 3, 4, 8)]
    assert kernels["conv_hr"] == (3, 3, 2, 2)
    dense = variables["params"]["trunk2"]["blocks"]["rdb1"]["conv1"]["kernel"].shape
    assert dense[-2:] == (6, 3)  # the second half has the width of its input, and grows in proportion


def test_bicubic_skip_is_pils_bicubic():
    x = image(1, 6, 5, 3)
    net = MSGANGenerator(blocks=(1, 1), skip="bicubic", unroll=1, **SMALL)
    variables = jax.jit(net.init)(FAST_KEY, x)
    silent = jax.tree.map(jnp.zeros_like, variables)
    apply = jax.jit(net.apply)
    for r, out in apply(silent, x).items():
        for channel in range(3):
            pil = Image.fromarray(np.asarray(x[0, :, :, channel])).resize((5 * r // 8, 6 * r // 8), Image.BICUBIC)
            np.testing.assert_allclose(out[0, :, :, channel], np.asarray(pil), atol=2e-6)
    # An untrained small generator stays near it.
    assert jnp.abs(apply(variables, x)[128] - apply(silent, x)[128]).mean() < 0.01


def test_init_is_rolled():
    """Compiling the 46 unrolled blocks, only to draw their parameters, would take minutes."""
    jaxpr = str(jax.make_jaxpr(MSGANGenerator(unroll=23).init)(KEY, jnp.zeros((1, 8, 8, 3))))
    assert jaxpr.count("length=23\n") == jaxpr.count("unroll=1\n") == 2


def test_bfloat16_computes_in_bfloat16_and_returns_float32(small):
    net, variables, x, full, _ = small
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    low_net = net.clone(dtype=jnp.bfloat16)
    low, state = jax.jit(lambda v, x: low_net.apply(v, x, capture_intermediates=True))(variables, x)
    assert state["intermediates"]["trunk2"]["__call__"][0].dtype == jnp.bfloat16
    for r in full:
        assert low[r].dtype == jnp.float32
        error = jnp.linalg.norm(low[r] - full[r]) / jnp.linalg.norm(full[r])
        assert 0 < error < 0.03


# ---- Discriminators


@pytest.mark.parametrize(
    ("size", "strides", "side", "field"),
    [
        (16, (2, 1, 1, 1, 1), 4, 28),
        (32, (2, 2, 1, 1, 1), 5, 46),
        (64, (2, 2, 2, 1, 1), 6, 70),
        (128, (2, 2, 2, 1, 1), 14, 70),
        (128, (2, 2, 2, 2, 2), 4, 94),  # as before strides stood in the config
    ],
)
def test_patch_map_and_receptive_field(load_config, size, strides, side, field):
    assert (map_side(size, strides), receptive_field(strides)) == (side, field)
    if field < 94:  # the default of the module and of the config
        assert load_config("msgan").disc.strides[f"r{size}"] == strides
        default = PatchDiscriminator(size=size, widths=(2, 2, 2, 2), axis_name=None)
        shape = jax.eval_shape(lambda x: default.init_with_output(KEY, x)[0], jnp.zeros((1, size, size, 3))).shape
        assert shape == (1, side, side)
    net = PatchDiscriminator(size=size, widths=(2, 2, 2, 2), strides=strides, axis_name=None)
    shape = jax.eval_shape(lambda x: net.init_with_output(KEY, x)[0], jnp.zeros((3, size, size, 3))).shape
    assert shape == (3, side, side)
    # The pixels that change the middle logit of a large image are a square with the side of the receptive field.
    x = image(1, 256, 256, 3)
    variables = drawn(net, x[:, :32, :32])

    def middle(x):
        logits = net.apply(variables, x, train=False, update_stats=False)
        return logits[0, logits.shape[1] // 2, logits.shape[2] // 2]

    footprint = jax.jit(jax.grad(middle))(x)
    rows, cols = jnp.any(footprint[0] != 0, (1, 2)), jnp.any(footprint[0] != 0, (0, 2))
    for used in (np.flatnonzero(rows), np.flatnonzero(cols)):
        assert used[-1] - used[0] + 1 == len(used) == field


@pytest.mark.parametrize(
    ("size", "strides", "says"),
    [(128, (2, 2, 2, 1), "takes 5 strides"), (16, (2, 2, 2, 2, 2), "leave no map of an image of 16 pixels")],
)
def test_strides_that_do_not_fit_are_refused(size, strides, says):
    net = PatchDiscriminator(size=size, widths=(2, 2, 2, 2), strides=strides, axis_name=None)
    with pytest.raises(ValueError, match=says):
        jax.eval_shape(net.init, KEY, jnp.zeros((1, size, size, 3)))


@pytest.fixture(scope="module")
def patch():
    """A small discriminator, its variables with every leaf nonzero, eight images."""
    net = PatchDiscriminator(size=16, widths=WIDTHS)
    x = image(8, 16, 16, 3)
    return net, drawn(net, x[:1]), x


@pytest.mark.parametrize("kind", ["patch", "feature"])
def test_two_devices_equal_one(kind, patch):
    """Logits, gradients and the new statistics: BatchNorm sees the whole batch, not a device's half."""
    assert len(jax.devices()) >= 2
    net, variables, x = patch
    if kind == "feature":
        net, x = FeatureDiscriminator(hidden=(6, 5)), image(8, 7)
        variables = drawn(net, x)

    def step(variables, x):
        def loss(params):
            logits, new = net.apply({**variables, "params": params}, x, mutable=["batch_stats"])
            return jnp.mean(jax.nn.softplus(logits)), (logits, new["batch_stats"])

        (_, (logits, stats)), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return logits, stats, jax.lax.pmean(grads, "data")

    logits1, stats1, grads1 = on_devices(1, step, variables, x)
    logits2, stats2, grads2 = on_devices(2, step, variables, x)
    np.testing.assert_allclose(logits1.reshape(logits2.shape), logits2, atol=2e-5)
    for one, two in ((stats1, stats2), (grads1, grads2)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[0], atol=2e-5), one, two)
        jax.tree.map(lambda b: np.testing.assert_array_equal(b[0], b[1]), two)
    nonzero_everywhere(jax.tree.map(lambda g: jnp.asarray(g[0]), grads1))


def test_statistics_move_only_when_asked(patch):
    net, variables, x = patch

    def step(variables, x):
        moved, new = net.apply(variables, x, train=True, update_stats=True, mutable=["batch_stats"])
        still = net.apply(variables, x, train=True, update_stats=False)
        kept, old = net.apply(variables, x, train=True, update_stats=False, mutable=["batch_stats"])
        return moved, still, kept, new["batch_stats"], old["batch_stats"]

    moved, still, kept, new, old = on_devices(1, step, variables, x)
    np.testing.assert_allclose(moved, still, atol=1e-6)
    np.testing.assert_allclose(moved, kept, atol=1e-6)
    flat = lambda tree: flax.traverse_util.flatten_dict(tree, sep="|")
    for name, before in flat(variables["batch_stats"]).items():
        np.testing.assert_array_equal(flat(old)[name][0], before, err_msg=name)
        # A 1-vector of unit length cannot move.
        if name != "spectral5|conv5/kernel/u":
            assert not np.allclose(flat(new)[name][0], before), name
    # Asked to move them where they cannot: Linen's error, not silence.
    with pytest.raises(flax.errors.ModifyScopeVariableError):
        jax.vmap(lambda x: net.apply(variables, x[None]), axis_name="data")(x)


def test_running_statistics_serve_without_devices(patch):
    net, variables, x = patch
    apply = jax.jit(lambda x: net.apply(variables, x, train=False, update_stats=False))
    np.testing.assert_allclose(apply(x[:1]), apply(x)[:1], atol=1e-6)


def test_real_and_fake_do_not_mix():
    """The logits of the fakes depend on the fakes alone; the running mean takes 0.1 of each batch in turn."""
    net = FeatureDiscriminator(hidden=(6, 5), axis_name=None)
    real, fake = image(16, 7) + 3, image(16, 7, seed=5)
    variables = drawn(net, real)
    params = variables["params"]
    _, state = net.apply(variables, real, mutable=["batch_stats"])
    logits, state = net.apply({"params": params, **state}, fake, mutable=["batch_stats"])
    np.testing.assert_allclose(logits, net.apply(variables, fake, update_stats=False), atol=1e-5)
    mixed = net.apply(variables, jnp.concatenate([real, fake]), update_stats=False)[16:]
    assert jnp.abs(mixed - logits).max() > 0.1
    kernel = np.asarray(params["dense1"]["kernel"])
    means = [(np.asarray(x) @ kernel).mean(0) for x in (real, fake)]
    before, after = (stats["norm1"]["norm"]["mean"] for stats in (variables["batch_stats"], state["batch_stats"]))
    np.testing.assert_allclose(after, 0.9 * (0.9 * before + 0.1 * means[0]) + 0.1 * means[1], atol=1e-5)


def test_spectral_norm_divides_by_the_largest_singular_value(patch):
    net, variables, x = patch
    stats = variables["batch_stats"]
    step = jax.jit(
        lambda stats: net.apply(
            {"params": variables["params"], "batch_stats": stats}, x, train=False, mutable=["batch_stats"]
        )[1]["batch_stats"]
    )
    for _ in range(60):
        stats = step(stats)
    for i in range(1, 6):
        kernel = np.asarray(variables["params"][f"conv{i}"]["kernel"])
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        np.testing.assert_allclose(stats[f"spectral{i}"][f"conv{i}/kernel/sigma"], largest, rtol=1e-3)
    # And the network's own first layer is the convolution by that quotient.
    first = np.asarray(variables["params"]["conv1"]["kernel"])
    unit = first / np.linalg.svd(first.reshape(-1, first.shape[-1]), compute_uv=False)[0]
    expected = jax.lax.conv_general_dilated(
        2 * x - 1, unit, (2, 2), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    ) + variables["params"]["conv1"]["bias"].reshape(1, 1, 1, -1)
    got = net.apply(
        {"params": variables["params"], "batch_stats": stats},
        x,
        train=False,
        update_stats=False,
        capture_intermediates=lambda module, _: module.name == "spectral1",
    )[1]["intermediates"]["spectral1"]["__call__"][0]
    np.testing.assert_allclose(got, expected, atol=1e-4)
