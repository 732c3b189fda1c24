"""Networks: parameter counts, parity with PyTorch, gradients, the loop over blocks, normalisation across devices."""

from __future__ import annotations

import importlib
import math
import pkgutil

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from PIL import Image
from support.networks import KEY, drawn, image, nonzero_everywhere, on_devices

import jfsr.models
from jfsr.models import layers
from jfsr.models.hourglass import Hourglass, ResidualUnit, StackedHourglasses
from jfsr.models.iafsr import Discriminator, PReLU, SRResNet
from jfsr.models.jasrnet import JASRNet, ResBlock
from jfsr.models.msgan import (
    FeatureDiscriminator,
    MSGANGenerator,
    PatchDiscriminator,
    receptive_field,
    strides_for,
)
from jfsr.models.mtun import MTUNDiscriminator, MTUNGenerator
from jfsr.models.rrdb import RRDB, ResidualDenseBlock, RRDBNet, RRDBTrunk
from jfsr.models.stn import SimilaritySTN

SMALL = {"features": 8, "growth": 4}
WIDTHS = (4, 4, 6, 6)

# name -> (module, shape of its input, trainable parameters). One row at least for every public module in jfsr/models.
COUNTS = {
    "layers.BatchNorm": (layers.BatchNorm(), (2, 5), 10),
    "layers.Deconv": (layers.Deconv(6), (1, 8, 8, 5), 4 * 4 * 5 * 6 + 6),
    "rrdb.ResidualDenseBlock": (ResidualDenseBlock(), (1, 8, 8, 64), 239_808),
    "rrdb.RRDB": (RRDB(), (1, 8, 8, 64), 719_424),
    "rrdb.RRDBTrunk": (RRDBTrunk(), (1, 8, 8, 64), 16_583_680),
    "rrdb.RRDBNet": (RRDBNet(), (1, 8, 8, 3), 16_697_987),
    "msgan.MSGANGenerator": (MSGANGenerator(), (1, 8, 8, 3), 33_803_852),
    "msgan.MSGANGenerator x8": (MSGANGenerator(scale=8), (1, 16, 16, 3), 33_654_409),
    "msgan.PatchDiscriminator": (PatchDiscriminator(), (1, 128, 128, 3), 2_765_633),
    "msgan.PatchDiscriminator 16": (PatchDiscriminator(size=16), (1, 16, 16, 3), 2_765_633),
    "msgan.FeatureDiscriminator": (FeatureDiscriminator(), (2, 2048), 591_105),
    "hourglass.ResidualUnit": (ResidualUnit(64), (1, 8, 8, 32), 13_568),
    "hourglass.Hourglass": (Hourglass(4), (1, 64, 64, 64), 536_640),
    "hourglass.StackedHourglasses": (StackedHourglasses(), (1, 64, 64, 32), 2_356_624),
    "stn.SimilaritySTN": (SimilaritySTN(), (1, 16, 16, 64), 43_744),
    "mtun.MTUNGenerator": (MTUNGenerator(), (1, 16, 16, 3), 2_837_651),
    "mtun.MTUNGenerator r16": (MTUNGenerator(heb_at=16), (1, 16, 16, 3), 1_876_691),
    "mtun.MTUNGenerator r32": (MTUNGenerator(heb_at=32), (1, 16, 16, 3), 2_370_003),
    "mtun.MTUNGenerator s1": (MTUNGenerator(stacks=1), (1, 16, 16, 3), 1_076_999),
    "mtun.MTUNGenerator without heatmaps": (MTUNGenerator(heb_at=0), (1, 16, 16, 3), 478_979),
    "mtun.MTUNDiscriminator": (MTUNDiscriminator(), (1, 128, 128, 3), 2_790_209),
    "iafsr.PReLU": (PReLU(), (2, 5), 5),
    "iafsr.SRResNet": (SRResNet(), (1, 16, 16, 3), 955_843),
    "iafsr.Discriminator": (Discriminator(), (1, 128, 128, 3), 38_243_713),
    "jasrnet.ResBlock": (ResBlock(), (1, 16, 16, 128), 295_168),
    "jasrnet.JASRNet": (JASRNet(), (1, 16, 16, 3), 19_885_778),
    "jasrnet.JASRNet concat": (JASRNet(fusion="concat"), (1, 16, 16, 3), 20_475_730),
}


# ---- Counts


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    module, shape, expected = COUNTS[name]
    variables = jax.eval_shape(module.init, KEY, jnp.zeros(shape))
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(variables["params"])) == expected
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_every_public_module_has_a_count():
    found = set()
    for info in pkgutil.iter_modules(jfsr.models.__path__):
        file = importlib.import_module(f"jfsr.models.{info.name}")
        found |= {
            f"{info.name}.{name}"
            for name, value in vars(file).items()
            if isinstance(value, type)
            and issubclass(value, nn.Module)
            and value.__module__ == file.__name__
            and not name.startswith("_")
        }
    missing = found - {name.split()[0] for name in COUNTS}
    assert not missing, f"add rows to COUNTS in tests/models/test_models.py for {sorted(missing)}"


# ---- Layers


def test_pixel_shuffle_known_answer():
    # One pixel, two output channels: sub-pixels are filled row by row, channel 0 from the first four.
    x = jnp.arange(8.0).reshape(1, 1, 1, 8)
    y = layers.pixel_shuffle(x, 2)
    np.testing.assert_array_equal(y[0, :, :, 0], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(y[0, :, :, 1], [[4, 5], [6, 7]])
    with pytest.raises(ValueError, match="multiple of 4 channels, got 6"):
        layers.pixel_shuffle(jnp.zeros((1, 2, 2, 6)))


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_and_nearest_are_pytorchs(factor):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 2 * factor**2)).astype(np.float32)
    nchw = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    shuffled_ = torch.nn.functional.pixel_shuffle(nchw, factor).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(layers.pixel_shuffle(jnp.asarray(x), factor), shuffled_)
    nearest = torch.nn.functional.interpolate(nchw, scale_factor=factor, mode="nearest").numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(layers.upsample_nearest(jnp.asarray(x), factor), nearest)


def test_initial_kernels_have_the_spread_of_esrgan():
    params = RRDBTrunk(blocks=2, conv_first=True).init(KEY, jnp.zeros((1, 4, 4, 3)))["params"]
    kernel = params["blocks"]["rdb2"]["conv4"]["kernel"]  # [block, 3, 3, 160, 32]
    assert kernel.shape[0] == 2
    assert not np.allclose(kernel[0], kernel[1])
    for one in kernel:
        np.testing.assert_allclose(one.std(), 0.1 * np.sqrt(2 / (9 * 160)), rtol=0.03)
    first = params["conv_first"]["kernel"]
    np.testing.assert_allclose(np.abs(first).max(), 1 / np.sqrt(27), rtol=0.02)
    assert jnp.all(params["conv_first"]["bias"] == 0)


# ---- Generators


def test_rrdbnet_equals_pytorch():
    pytest.importorskip("torch")
    import torch
    from support.reference.rrdb_torch import RRDBNet as TorchNet
    from support.reference.rrdb_torch import rrdbnet_from

    assert sum(p.numel() for p in TorchNet().parameters()) == COUNTS["rrdb.RRDBNet"][2]
    x = image(2, 5, 6, 3)
    net = RRDBNet(blocks=2, unroll=1, **SMALL)
    variables = drawn(net, x)
    with torch.no_grad():
        theirs = rrdbnet_from(variables["params"], blocks=2, **SMALL)(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
    ours = jax.jit(net.apply)(variables, x)
    assert ours.shape == (2, 20, 24, 3)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1).numpy(), atol=1e-5)


@pytest.mark.parametrize("scale", [8, 16])
def test_msgan_equals_pytorch(scale):
    pytest.importorskip("torch")
    import torch
    from support.reference.msgan_torch import generator_from

    x = image(2, 3, 4, 3)
    net = MSGANGenerator(scale=scale, blocks=(1, 2), unroll=1, **SMALL)
    variables = drawn(net, x)
    with torch.no_grad():
        reference = generator_from(variables["params"], scale=scale, blocks=(1, 2), **SMALL)
        theirs = reference(torch.tensor(np.asarray(x)).permute(0, 3, 1, 2))
    ours = jax.jit(net.apply)(variables, x)
    assert tuple(ours) == tuple(theirs) == net.resolutions
    for r in ours:
        np.testing.assert_allclose(ours[r], theirs[r].permute(0, 2, 3, 1).numpy(), atol=1e-5)


@pytest.mark.parametrize(("scale", "resolutions"), [(8, (32, 64, 128)), (16, (16, 32, 64, 128))])
def test_generator_shapes(scale, resolutions):
    net = MSGANGenerator(scale=scale, blocks=(1, 1), dtype=jnp.bfloat16, skip="bicubic", **SMALL)
    assert net.resolutions == resolutions
    nominal = 128 // scale
    for h, w in [(nominal, nominal), (5, 11), (nominal + 3, nominal)]:
        images = jax.eval_shape(lambda x: net.init_with_output(KEY, x)[0], jnp.zeros((2, h, w, 3)))
        assert tuple(images) == resolutions
        for r, x in images.items():
            assert x.shape == (2, h * r // nominal, w * r // nominal, 3)
            assert x.dtype == jnp.float32
    with pytest.raises(ValueError, match=r"scale is \[8, 16\], got 4"):
        MSGANGenerator(scale=4).init(KEY, jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="'none' or 'bicubic', got 'linear'"):
        MSGANGenerator(skip="linear", blocks=(1, 1), **SMALL).init(KEY, jnp.zeros((1, 8, 8, 3)))


def test_bicubic_skip_is_pils_bicubic():
    x = image(1, 6, 5, 3)
    net = MSGANGenerator(blocks=(1, 1), skip="bicubic", unroll=1, **SMALL)
    variables = jax.jit(net.init)(KEY, x)
    silent = jax.tree.map(jnp.zeros_like, variables)
    apply = jax.jit(net.apply)
    for r, out in apply(silent, x).items():
        for channel in range(3):
            pil = Image.fromarray(np.asarray(x[0, :, :, channel])).resize((5 * r // 8, 6 * r // 8), Image.BICUBIC)
            np.testing.assert_allclose(out[0, :, :, channel], np.asarray(pil), atol=2e-6)
    # An untrained small generator stays near it.
    assert jnp.abs(apply(variables, x)[128] - apply(silent, x)[128]).mean() < 0.01


def test_one_tree_of_parameters_however_the_loop_is_compiled():
    """Rolled, unrolled, rematerialised: the same tree, outputs and gradients; all of them nonzero."""
    x, results, trees = image(1, 4, 4, 3), [], []
    for options in ({"unroll": 1}, {"unroll": None}, {"unroll": 1, "remat": True}, {"unroll": 2, "remat": True}):
        net = RRDBNet(blocks=2, **SMALL, **options)
        trees.append(jax.eval_shape(net.init, KEY, x))
        variables = drawn(net, x)

        def loss(params, net=net):
            sr = net.apply({"params": params}, x)
            return jnp.mean(sr**2), sr

        results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"]))
        loops = str(jax.make_jaxpr(lambda p, net=net: net.apply(p, x))(variables)).count("unroll=1\n")
        assert loops == (1 if options["unroll"] == 1 else 0)
    assert all(tree == trees[0] for tree in trees[1:])
    for result in results[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), results[0], result)
    nonzero_everywhere(results[0][1])


def test_every_parameter_of_the_generator_learns():
    x = image(1, 4, 4, 3)
    net = MSGANGenerator(blocks=(1, 2), unroll=1, **SMALL)
    variables = drawn(net, x)
    grads = jax.jit(jax.grad(lambda v: sum(jnp.mean(y**2) for y in net.apply(v, x).values())))(variables)
    nonzero_everywhere(grads)


def test_remat_is_in_the_program():
    x = jnp.zeros((1, 4, 4, 3))
    for remat in (False, True):
        net = RRDBNet(blocks=2, remat=remat, unroll=1, **SMALL)
        jaxpr = str(jax.make_jaxpr(lambda x, net=net: net.init_with_output(KEY, x)[0])(x))
        assert ("prevent_cse=False" in jaxpr) == remat


def test_unrolling_follows_the_platform(monkeypatch):
    assert layers.resolve_unroll(None, 23) == 0
    assert layers.resolve_unroll(4, 23) == 4
    assert layers.resolve_unroll(4, 4) == 0
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert layers.resolve_unroll(None, 23) == 1


def test_one_block_is_no_loop():
    """`lax.scan` would make a loop of it, whose derivative is some ten times slower on CPU."""
    x = jnp.zeros((1, 4, 4, 8))
    for blocks, unroll in [(1, None), (1, 1), (2, None), (2, 2)]:
        net = RRDBTrunk(blocks=blocks, unroll=unroll, **SMALL)
        text = jax.jit(net.apply).lower(jax.eval_shape(net.init, KEY, x), x).as_text()
        assert "stablehlo.while" not in text, (blocks, unroll)


def test_init_is_rolled():
    """Compiling the 46 unrolled blocks only to draw their parameters would take minutes."""
    jaxpr = str(jax.make_jaxpr(MSGANGenerator(unroll=23).init)(KEY, jnp.zeros((1, 8, 8, 3))))
    assert jaxpr.count("length=23\n") == jaxpr.count("unroll=1\n") == 2


def test_bfloat16_computes_in_bfloat16_and_returns_float32():
    x = image(1, 8, 8, 3)
    net = MSGANGenerator(blocks=(1, 1), dtype=jnp.bfloat16, unroll=1, **SMALL)
    variables = drawn(net, x)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    low, state = jax.jit(lambda v, x: net.apply(v, x, capture_intermediates=True))(variables, x)
    assert state["intermediates"]["trunk2"]["__call__"][0].dtype == jnp.bfloat16
    full = jax.jit(net.clone(dtype=jnp.float32).apply)(variables, x)
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
        (128, (2, 2, 2, 2, 2), 4, 94),
    ],
)
def test_patch_map_and_receptive_field(size, strides, side, field):
    assert strides_for(size, 5) == strides
    assert receptive_field(strides) == field
    net = PatchDiscriminator(size=size, widths=(2, 2, 2, 2), axis_name=None)
    shape = jax.eval_shape(lambda x: net.init_with_output(KEY, x)[0], jnp.zeros((3, size, size, 3))).shape
    assert shape == (3, side, side)
    # The pixels that move the middle logit of a large image are a square of that side.
    x = image(1, 256, 256, 3)
    variables = drawn(net, x[:, :32, :32])

    def middle(x):
        logits = net.apply(variables, x, train=False, update_stats=False)
        return logits[0, logits.shape[1] // 2, logits.shape[2] // 2]

    footprint = jax.jit(jax.grad(middle))(x)
    rows, cols = jnp.any(footprint[0] != 0, (1, 2)), jnp.any(footprint[0] != 0, (0, 2))
    for used in (np.flatnonzero(rows), np.flatnonzero(cols)):
        assert used[-1] - used[0] + 1 == len(used) == field


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
    one = net.apply(variables, x[:1], train=False, update_stats=False)
    all_ = net.apply(variables, x, train=False, update_stats=False)
    np.testing.assert_allclose(one, all_[:1], atol=1e-6)


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


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 1, 2), (1, 8, 8, 3)])
def test_deconv_is_the_transposed_convolution_and_so_are_its_gradients(shape):
    ours, theirs = layers.Deconv(6), nn.ConvTranspose(6, (4, 4), strides=(2, 2))
    x = jax.random.normal(jax.random.key(0), shape)
    variables = theirs.init(jax.random.key(1), x)
    variables = jax.tree.map(lambda v: v + 0.1, variables)  # a bias that is not zero
    assert jax.tree.map(jnp.shape, ours.init(jax.random.key(1), x)) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_allclose(ours.apply(variables, x), theirs.apply(variables, x), atol=1e-5)
    weigh = jax.random.normal(jax.random.key(2), (shape[0], 2 * shape[1], 2 * shape[2], 6))
    grad = lambda module: jax.grad(lambda v, x: jnp.sum(weigh * module.apply(v, x) ** 2), argnums=(0, 1))(variables, x)
    for a, b in zip(jax.tree.leaves(grad(ours)), jax.tree.leaves(grad(theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
