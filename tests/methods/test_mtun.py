"""MTUN: its equations in NumPy, its transformer, its variants, and that it learns."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from flax import linen as nn
from support import ROOT
from support.steps import KEY, Run

from jfsr import config as configs
from jfsr import losses
from jfsr.data import degrade, heatmaps
from jfsr.methods import common, mtun
from jfsr.models.hourglass import StackedHourglasses
from jfsr.models.mtun import MTUNGenerator
from jfsr.models.stn import SimilaritySTN, sample_similarity

RNG = np.random.default_rng(0)
TINY = ",r16,model.stacks=1"


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def batch_of(count=4, seed=0):
    """Smooth images with landmarks, and their low resolution, misaligned."""
    rng = np.random.default_rng(seed)
    hr = scipy.ndimage.gaussian_filter(rng.uniform(size=(count, 128, 128, 3)), (0, 8, 8, 0)).astype(np.float32)
    hr = (hr - hr.min()) / np.ptp(hr)
    similarity = np.stack([rng.uniform(-20, 20, count), np.ones(count), *rng.uniform(-6, 6, (2, count))], 1)
    similarity = similarity.astype(np.float32)
    out = {
        "hr": hr,
        "pose_deg": np.zeros((count, 3), np.float32),
        "identity": np.full(count, -1, np.int32),
        "landmarks_px": rng.uniform(20, 108, (count, 68, 2)).astype(np.float32),
        "visible": np.ones((count, 68), bool),
        "position": np.arange(count, dtype=np.int32),
        "similarity": similarity,
    }
    out["lr"] = np.asarray(degrade.clean_lr(degrade.misalign(jnp.asarray(hr), jnp.asarray(similarity)), scale=8))
    return out


# ---- Equations


def test_pixel_and_feature_loss_are_1_and_2():
    a, b = draw(3, 4, 5, 6), draw(3, 4, 5, 6)
    want = [sum((a[i] - b[i]).ravel() ** 2) / a[i].size for i in range(3)]
    np.testing.assert_allclose(mtun.squared_distance(jnp.asarray(a), jnp.asarray(b)), want, rtol=1e-5)


def test_heatmap_loss_is_5_after_every_hourglass():
    maps, target = draw(2, 3, 4, 4, 4), draw(3, 4, 4, 4)
    want = np.zeros(3)
    for stack, image, component in np.ndindex(2, 3, 4):
        gap = maps[stack, image, :, :, component] - target[image, :, :, component]
        want[image] += np.sum(gap**2) / 16 / 4  # mean over cells, 1 / M over the M = 4 components
    np.testing.assert_allclose(mtun.heatmap_loss(jnp.asarray(maps), jnp.asarray(target)), want, rtol=1e-5)


def test_adversarial_losses_are_3_and_4():
    real, fake = draw(5), draw(5)
    d = lambda x: 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(
        losses.adversarial_d(jnp.asarray(real), jnp.asarray(fake)), -(np.log(d(real)) + np.log(1 - d(fake))), rtol=1e-5
    )
    np.testing.assert_allclose(losses.adversarial_g(jnp.asarray(fake)), -np.log(d(fake)), rtol=1e-5)


def test_rmsprop_keeps_99_hundredths_of_the_old_square(load_config):
    tx = mtun.optimizer(load_config("mtun"))
    first, second = draw(6), draw(6)
    opt = tx.init(jnp.zeros(6))
    _, opt = tx.update(jnp.asarray(first), opt)
    direction, _ = tx.update(jnp.asarray(second), opt)
    square = 0.99 * 0.01 * first**2 + 0.01 * second**2
    np.testing.assert_allclose(direction, second / np.sqrt(square / (1 - 0.99**2)), rtol=1e-4)


def test_true_maps_leave_out_hidden_points_and_unlabelled_faces(load_config):
    config, batch = load_config("mtun"), batch_of()
    batch["visible"][0, 48:] = False
    batch["landmarks_px"][1] = np.nan
    batch["visible"][1] = False
    batch["pose_deg"][2] = [60.0, 0.0, 0.0]  # nothing is said to be hidden, so the far half is
    maps, known = mtun.true_maps(config, {k: jnp.asarray(v) for k, v in batch.items()}, size=16)
    np.testing.assert_array_equal(known, [True, False, True, True])
    assert not np.any(maps[0, ..., 2])
    assert np.any(maps[0, ..., 0])
    assert not np.any(maps[1])
    near = batch["visible"][2] & ~np.isin(np.arange(68), heatmaps.LEFT)
    want = heatmaps.component_heatmaps(
        jnp.asarray(batch["landmarks_px"][2:3]), jnp.asarray(near[None]), size=16, sigma_px=4.0
    )
    np.testing.assert_allclose(maps[2:3], want, atol=1e-6)


# ---- Transformer


def test_no_similarity_returns_the_features_untouched():
    x = jnp.asarray(draw(2, 16, 16, 5))
    np.testing.assert_array_equal(sample_similarity(x, jnp.zeros((2, 4))), x)
    net = SimilaritySTN(width=3)
    variables = net.init(KEY, x)
    np.testing.assert_array_equal(net.apply(variables, x), np.zeros((2, 4)))


@pytest.mark.parametrize("theta", [(0, 0.5, 0, 0), (-0.3, -1.2, 0.3, -0.45), (0.2, 2.5, -0.125, 0)])
def test_the_sampler_is_scipys(theta):
    n, x = 16, draw(1, 16, 16, 2)
    got = sample_similarity(jnp.asarray(x), jnp.asarray([theta], jnp.float32))[0]
    s, a, tx, ty = theta
    # (row, column) of the input shown at (row, column): positions in half sides from the centre, edges at -1 and 1.
    way = np.exp(s) * np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    centre = np.full(2, (n - 1) / 2)
    offset = centre + np.array([ty, tx]) * n / 2 - way @ centre
    for channel in range(2):
        want = scipy.ndimage.affine_transform(x[0, ..., channel], way, offset, order=1, mode="grid-constant")
        np.testing.assert_allclose(got[..., channel], want, atol=1e-5)


def test_a_similarity_means_the_same_at_every_size():
    """Edges at ±1: a shift of half a side is n / 4 pixels, whatever n; with corners at ±1 it would be (n - 1) / 4."""
    for n in (16, 64):
        x = draw(1, n, n, 1)
        got = sample_similarity(jnp.asarray(x), jnp.asarray([[0, 0, 0.5, -0.5]]))
        np.testing.assert_allclose(got[0, n // 4 :, : -n // 4], x[0, : -n // 4, n // 4 :], atol=1e-5)
        assert not np.any(got[0, : n // 4])


def test_it_undoes_a_misalignment():
    x = scipy.ndimage.gaussian_filter(RNG.uniform(size=(1, 64, 64, 3)), (0, 4, 4, 0)).astype(np.float32)
    turned = degrade.misalign(jnp.asarray(x), jnp.asarray([[20.0, 1.1, 3.0, -5.0]]))
    # Input position of the upright p: zoom R(angle) p + shift.
    theta = jnp.asarray([[np.log(1.1), np.radians(20.0), 3 / 32, -5 / 32]], jnp.float32)
    back = sample_similarity(turned, theta)
    assert np.abs(back - x)[0, 16:48, 16:48].max() < 0.1 * np.abs(turned - x)[0, 16:48, 16:48].max()


def test_gradients_of_the_sampler_are_finite_differences():
    # Smooth features: bilinear interpolation has a kink at every cell border, and a step crosses some.
    x = jnp.asarray(scipy.ndimage.gaussian_filter(draw(2, 16, 16, 3), (0, 2, 2, 0)))
    theta = jnp.asarray([[0.1, 0.3, 0.05, -0.1], [-0.2, -0.7, 0.2, 0.11]])
    weights = jnp.asarray(scipy.ndimage.gaussian_filter(draw(2, 16, 16, 3), (0, 2, 2, 0)))
    f = jax.jit(lambda x, theta: jnp.sum(weights * sample_similarity(x, theta)))
    for_x, for_theta = jax.grad(f, (0, 1))(x, theta)
    direction = jnp.asarray(draw(*x.shape))
    np.testing.assert_allclose(f(x + direction, theta) - f(x, theta), jnp.sum(for_x * direction), rtol=1e-3, atol=1e-4)
    step, slopes = 1e-3, np.zeros((2, 4))
    for i, k in np.ndindex(2, 4):
        e = jnp.zeros((2, 4)).at[i, k].set(step)
        slopes[i, k] = (f(x, theta + e) - f(x, theta - e)) / (2 * step)
    np.testing.assert_allclose(slopes, for_theta, rtol=0.05, atol=0.03 * np.abs(slopes).max())


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="side of 16, 32 or 64, got 24"):
        SimilaritySTN().init(KEY, jnp.zeros((1, 24, 24, 3)))
    with pytest.raises(ValueError, match="depth 3 takes maps with a side that is a multiple of 8, got 12"):
        StackedHourglasses(depth=3).init(KEY, jnp.zeros((1, 12, 12, 3)))
    for options, said in {
        ("heb_at", 128): "heb_at must be one of 0, 16, 32, 64, got 128",
        ("stn_at", 64): "stn_at must be one of 16, 32, got 64",
        ("skip_connection", "both"): "skip_connection must be one of 'heatmaps', 'autoencoder', 'none', got 'both'",
        ("heb_at", 16): "with stn_at 32 those of heb_at 16 are not yet turned; give stn_at 16",
    }.items():
        with pytest.raises(ValueError, match=said):
            MTUNGenerator(**dict([options])).init(KEY, jnp.zeros((1, 16, 16, 3)))


def test_32_is_the_size_from_which_the_papers_transformer_has_its_80_inputs():
    """Sec. 3.4: MP2, conv k5s1p0n20, MP2, conv k5s1p0n20, FC 80 -> 20, computed here without any padding."""
    net, x = SimilaritySTN(), jnp.asarray(draw(2, 32, 32, 6))
    shapes = jax.eval_shape(net.init, KEY, x)["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(0.2 * draw(*leaf.shape)), shapes)
    assert params["hidden"]["kernel"].shape == (80, 20)
    y = x
    for i in (1, 2):
        y = y.reshape(2, y.shape[1] // 2, 2, y.shape[1] // 2, 2, -1).max((2, 4))
        kernel, bias = params[f"conv{i}"]["kernel"], params[f"conv{i}"]["bias"]
        y = jax.lax.conv_general_dilated(y, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = jax.nn.relu(y + bias[None, None, None])
    assert y.shape == (2, 2, 2, 20)
    fc = lambda y, name: y @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
    want = fc(np.maximum(fc(np.asarray(y).reshape(2, 80), "hidden"), 0.0), "theta")
    want[:, 0] = np.tanh(want[:, 0])
    np.testing.assert_allclose(net.apply({"params": params}, x), want, rtol=1e-4, atol=1e-5)


# ---- Variants


@pytest.mark.parametrize(
    ("variant", "nets", "frozen", "maps"),
    [
        ("", {"g", "d"}, ("features",), (4, 2, 64, 64, 4)),
        ("r16", {"g", "d"}, ("features",), (4, 2, 16, 16, 4)),
        ("no_skip", {"g", "d"}, ("features",), (4, 2, 64, 64, 4)),
        ("no_autoencoder", {"g", "d"}, ("features",), (4, 2, 64, 64, 4)),
        ("model.heb_at=32,s1", {"g", "d"}, ("features",), (1, 2, 32, 32, 4)),
        ("s3", {"g", "d"}, ("features",), (3, 2, 64, 64, 4)),
        ("p", {"g"}, (), (0, 2, 0, 0, 4)),
        ("pf", {"g"}, ("features",), (0, 2, 0, 0, 4)),
        ("pfu", {"g", "d"}, ("features",), (0, 2, 0, 0, 4)),
        ("ph,s2", {"g"}, (), (2, 2, 64, 64, 4)),
        ("pfh", {"g"}, ("features",), (4, 2, 64, 64, 4)),
    ],
)
def test_variants_hold_what_they_need(load_config, variant, nets, frozen, maps):
    config = load_config("mtun", variant)
    assert mtun.needed(config) == frozen
    state = jax.eval_shape(functools.partial(mtun.init, config), KEY, batch_of(2))
    assert set(state.nets) == nets
    variables = {"params": state.nets["g"].params, "batch_stats": state.nets["g"].stats}
    forward = lambda v, x: mtun.generator(config).apply(v, x, train=False)
    out = jax.eval_shape(forward, variables, jnp.zeros((2, 16, 16, 3)))
    assert out.image.shape == (2, 128, 128, 3)
    assert out.maps.shape == maps


@pytest.mark.parametrize(("variant", "side"), [("", 32), ("r32", 32), ("r16", 16), ("p", 32)])
def test_features_are_super_resolved_before_they_are_aligned(load_config, variant, side):
    """Sec. 3.2: "The upsampling branch firstly super-resolves features of LR input images and then aligns"."""
    seen = {}

    def note(call, args, kwargs, context):
        if context.method_name == "__call__":
            seen.setdefault(context.module.name, args[0].shape[1])
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(mtun.generator(load_config("mtun", variant)).init, KEY, jnp.zeros((1, 16, 16, 3)))
    assert seen["stn"] == side
    assert list(seen).index("stn") > list(seen).index("conv_32" if side == 32 else "decode")
    if "heb" in seen:  # and the heatmaps are estimated on aligned features
        assert list(seen).index("heb") > list(seen).index("stn")


def test_the_ablations_of_table_1_lack_one_thing_each(load_config):
    def of(variant):
        g = mtun.generator(load_config("mtun", f"debug,r16,s1,model.skip=none,{variant}")).clone(axis_name=None)
        return g, jax.eval_shape(g.init, KEY, jnp.zeros((1, 16, 16, 3)))

    (full, shapes), (no_skip, without_skip), (_, without_encoder) = of("r16"), of("no_skip"), of("no_autoencoder")
    # † without the skip connection: the same layers, and the features no longer pass the fusion with the heatmaps.
    assert jax.tree.map(np.shape, without_skip) == jax.tree.map(np.shape, shapes)
    variables = jax.tree.map(lambda x: jnp.asarray(np.abs(draw(*x.shape)) * 0.2), shapes)
    silent = {**variables["params"], "fuse": jax.tree.map(jnp.zeros_like, variables["params"]["fuse"])}
    lr = jax.random.uniform(KEY, (2, 16, 16, 3))
    flat = lambda g: np.ptp(np.asarray(g.apply({**variables, "params": silent}, lr, train=False).image[0]), axis=(0, 1))
    assert flat(full).min() > 0.1
    # A fusion that gives nothing leaves only what the biases make: alike at every pixel but near the edges.
    inner = no_skip.apply({**variables, "params": silent}, lr, train=False).image[:, 32:96, 32:96]
    np.testing.assert_allclose(inner[0], inner[1], rtol=1e-5)
    # ‡ without the autoencoder: "upsample LR inputs directly".
    gone = shapes["params"].keys() - without_encoder["params"].keys()
    assert gone == {"encode1", "encode2", "decode"}
    assert without_encoder["params"]["up_32"]["kernel"].shape[2] == 3


def test_a_run_of_an_earlier_version_keeps_its_network(load_config):
    old = configs.from_json((ROOT / "tests/support/old_configs/mtun.json").read_text("utf-8"))
    g = mtun.generator(old)
    assert (g.autoencoder, g.stn_at, g.skip_connection) == (True, 16, "autoencoder")
    shapes = jax.eval_shape(g.init, KEY, jnp.zeros((1, 16, 16, 3)))["params"]
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 2_837_651
    assert "fuse" not in shapes


@pytest.mark.parametrize(
    "options",
    [
        {"heb_at": 16, "stn_at": 16, "stacks": 2},
        {"heb_at": 32, "stacks": 1, "skip": "aligned"},
        {"heb_at": 64, "stacks": 1, "skip_connection": "none"},
        {"heb_at": 64, "stacks": 1, "autoencoder": False},
        {"heb_at": 32, "stn_at": 16, "stacks": 1, "skip_connection": "autoencoder"},
        {"heb_at": 0},
    ],
)
def test_every_parameter_has_a_gradient(options):
    """Away from the start, where the transformer's last layer is zero and nothing reaches the layers before it."""
    g = MTUNGenerator(widths=(4, 4, 4, 4, 4), heb_features=4, axis_name=None, **options)
    lr = jax.random.uniform(KEY, (2, 16, 16, 3))
    shapes = jax.eval_shape(g.init, KEY, lr)

    def fill(path, leaf):
        # Activations of about 1, and a similarity that keeps the face in the picture.
        scale = 0.1 if "'theta'" in jax.tree_util.keystr(path) else 1.0
        return jnp.asarray(scale * draw(*leaf.shape) / np.sqrt(max(1, np.prod(leaf.shape[:-1]))))

    params = jax.tree_util.tree_map_with_path(fill, shapes["params"])
    stats = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes.get("batch_stats", {}))
    wanted = jnp.asarray(draw(2, 128, 128, 3))

    @jax.jit
    def gradient(params):
        def loss(params):
            out, _ = g.apply({"params": params, "batch_stats": stats}, lr, mutable=["batch_stats"])
            return jnp.sum(out.image * wanted) + jnp.sum(out.maps**2)

        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert np.any(leaf != 0), jax.tree_util.keystr(path)


# ---- Steps


@pytest.fixture(scope="module")
def trained(load_config):
    """Three steps of the whole system at tiny widths, on one device: the one compile of a step on one device."""
    # The discriminator hardly counts, so that the losses must fall when a batch is over-fitted.
    config = load_config("mtun", f"debug{TINY},optim.lr=0.01,optim.lr_decay_every=50,weights.adv=1e-4")
    batch = batch_of(2)
    run = Run(config)
    start = run.init(batch)
    states, metrics = [start], []
    for _ in range(3):
        state, seen = run(states[-1], batch, "train")
        states.append(state)
        metrics.append(seen)
    return config, batch, run, states, metrics


def test_a_step_logs_every_term_and_their_weighed_sum(trained):
    config, *_, metrics = trained
    w, m = config.weights, metrics[0]
    assert {"g/pixel", "g/adv", "g/heatmap", "d/d", "g/total", "rate"} <= set(m)
    assert all(np.isfinite(v) for v in m.values())
    np.testing.assert_allclose(m["g/total"], sum(w[t] * m[f"g/{t}"] for t in ("pixel", "adv", "heatmap")), rtol=1e-5)


def test_the_rate_falls_by_a_hundredth_every_epoch(trained):
    _, batch, run, states, _ = trained  # an epoch is fifty steps
    at = lambda step: run(states[0].replace(step=np.int32(step)), batch, "train")[1]["rate"]
    np.testing.assert_allclose([at(s) for s in (0, 49, 50, 149)], 0.01 * 0.99 ** np.array([0, 0, 1, 2]), rtol=1e-6)


def test_steps_move_every_parameter_of_both_networks(trained):
    _, _, _, states, _ = trained
    late = []
    for name in states[0].nets:
        # Average and statistics too.
        for kind in ("params", "stats", "ema", "ema_stats"):
            pairs = [jax.tree_util.tree_leaves_with_path(getattr(s.nets[name], kind)) for s in (states[0], *states[1:])]
            for (path, old), *after in zip(*pairs, strict=True):
                where = f"{name}.{kind}{jax.tree_util.keystr(path)}"
                assert np.any(old != after[-1][1]), f"{where} did not move"
                if kind == "params" and not np.any(old != after[0][1]):
                    late.append(where)
    # In the first step the transformer's last layer is zero, so that no gradient reaches the layers before it.
    assert late
    assert all("'stn'" in where and "'theta'" not in where for where in late)


def test_two_devices_equal_one(trained):
    """By shard_map, and one by pmap."""
    config, batch, _, states, metrics = trained
    got, seen = Run(config, devices=2, how="shard_map")(states[1], batch, "train")
    for name in seen:
        np.testing.assert_allclose(seen[name], metrics[1][name], rtol=2e-3, atol=2e-5, err_msg=name)
    for a, b in zip(jax.tree.leaves(got.nets["g"].stats), jax.tree.leaves(states[2].nets["g"].stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_faces_without_landmarks_count_for_the_other_terms_alone(trained):
    _, batch, run, states, _ = trained
    none = batch | {"landmarks_px": np.full((2, 68, 2), np.nan, np.float32), "visible": np.zeros((2, 68), bool)}
    state, seen = run(states[1], none, "train")
    assert seen["g/heatmap"] == 0
    assert seen["g/pixel"] > 0
    assert state.skipped == 0
    # Each face labelled alone: their mean is what both labels give.
    alone = []
    for i in range(2):
        one = {k: batch[k].copy() for k in batch}
        one["landmarks_px"][1 - i], one["visible"][1 - i] = np.nan, False
        alone.append(run(states[1], one, "train")[1]["g/heatmap"])
    both = run(states[1], batch, "train")[1]["g/heatmap"]
    np.testing.assert_allclose(np.mean(alone), both, rtol=1e-4)


def test_the_device_path_makes_the_input_of_the_host_path(trained):
    config, batch, _, states, _ = trained
    on_device = {k: jnp.asarray(v) for k, v in batch.items() if k != "lr"}
    got = common.low_resolution(config, states[0], on_device, KEY)
    np.testing.assert_allclose(got, batch["lr"], atol=1e-5)


def test_one_batch_is_overfitted_in_every_term(trained):
    _, batch, run, states, (first, *_) = trained
    state = states[-1]
    for _ in range(60):
        state, seen = run(state, batch, "train")
    for name in ("g/pixel", "g/heatmap", "g/total"):
        assert seen[name] < 0.7 * first[name], f"{name}: {first[name]} -> {seen[name]}"


def test_feature_loss_compares_the_networks_maps(load_config, monkeypatch):
    """(2) with a stand-in for VGG-19: its variables are an argument, its maps are compared, its gradient is used."""
    apply = lambda variables, images: images[:, ::8, ::8] * variables["gain"]
    network = types.SimpleNamespace(apply=apply)
    monkeypatch.setattr(mtun.zoo, "network", lambda name: {"vgg19": network}[name])
    config = load_config("mtun", "debug,pf,weights.perceptual=0.5,frozen.features=vgg19")
    batch = batch_of(2)
    state = jax.jit(functools.partial(mtun.init, config))(KEY, batch)
    frozen = {"features": {"gain": jnp.float32(3.0)}}
    step = jax.vmap(lambda b: mtun.train_step(config, state, frozen, b, KEY, stage="train"), axis_name="data")
    one = jax.tree.map(lambda x: jnp.asarray(x)[None], batch)
    _, metrics = jax.jit(step)(one)
    g = mtun.generator(config)
    fake = g.apply({"params": state.nets["g"].params}, jnp.asarray(batch["lr"])).image
    seen = np.clip(fake, 0.0, 1.0)  # as it is stored
    gap = 3.0 * (seen[:, ::8, ::8] - batch["hr"][:, ::8, ::8])
    np.testing.assert_allclose(metrics["g/perceptual"][0], np.mean(gap**2), rtol=1e-4)
    np.testing.assert_allclose(
        metrics["g/total"][0], metrics["g/pixel"][0] + 0.5 * metrics["g/perceptual"][0], rtol=1e-5
    )


def test_predict_and_score_agree(trained):
    config, batch, _, states, _ = trained
    net = states[-1].nets["g"]
    variables = {"params": net.params, "batch_stats": net.stats}
    found = jax.jit(functools.partial(mtun.predict, config))(variables, batch["lr"])
    assert found["sr"].shape == (2, 128, 128, 3)
    assert found["components"].shape == (2, 16, 16, 4)
    assert set(found["stages"]) == {128}
    assert 0 <= found["sr"].min() <= found["sr"].max() <= 1
    batch = batch | {"landmarks_px": batch["landmarks_px"].copy()}
    batch["landmarks_px"][1] = np.nan
    scores = mtun.score(config, variables, {}, {k: jnp.asarray(v) for k, v in batch.items()})
    mse = np.mean((np.asarray(found["sr"]) - batch["hr"]) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(scores["psnr"], -10 * np.log10(mse), rtol=1e-3)
    np.testing.assert_array_equal(np.isnan(scores["heatmap"]), [False, True])


# ---- Figure


def test_components_colour_the_face_where_they_are():
    from jfsr.drawing import figures

    face, maps = np.full((64, 64, 3), 100, np.uint8), np.zeros((16, 16, 4), np.float32)
    maps[:6, :6, 2] = 1.0  # a mouth at the top left
    maps[10:, 10:, 0] = 7.0  # estimates are not bounded
    got = figures.draw_components(face, maps, strength=0.5)
    np.testing.assert_array_equal(got[:12, :12], np.broadcast_to(np.uint8([85, 115, 178]), (12, 12, 3)))
    np.testing.assert_array_equal(got[52:, 52:], np.broadcast_to(np.uint8([178, 85, 80]), (12, 12, 3)))
    np.testing.assert_array_equal(got[:12, 40:], face[:12, 40:])
    lr = np.zeros((2, 16, 16, 3), np.uint8)
    sheet = figures.component_comparison(lr, *[np.stack([face] * 2)] * 2, np.stack([maps] * 2), cell=64)
    assert sheet.shape[1] == 4 * (64 + figures.GAP) + figures.GAP
