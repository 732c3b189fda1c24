"""IAFSR: its networks, each equation, the rows of Table I, the two stages, and what an evaluation says of identity."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.networks import drawn, image, nonzero_everywhere, on_devices
from support.steps import KEY, Run, faces

from jfsr import bundle, losses
from jfsr.data import pipeline
from jfsr.frozen import zoo
from jfsr.methods import iafsr
from jfsr.models.iafsr import Discriminator, PReLU, SRResNet
from jfsr.training import parallel
from jfsr.training.validation import Validation

SMALL = {"features": 4, "blocks": 2}
ROWS = {
    "sr_net": {"pixel"},
    "srgan": {"pixel", "adv"},
    "sr_ou": {"pixel", "euclid"},
    "sr_angle": {"pixel", "cosine"},
    "proposed": {"pixel", "cosine", "magnitude"},
}


class Start(Run):
    """A run of this method, with its frozen network."""

    def __init__(self, config, *, devices=1):
        self.config, self.method, self.steps = config, iafsr, {}
        self.mesh = parallel.Parallel("pmap", devices=jax.devices()[:devices])
        frozen = {kind: zoo.load(config.frozen[kind])[1] for kind in iafsr.needed(config)}
        self.frozen = self.mesh.replicate(frozen)


# ---- Networks


def test_srresnet_is_srgans():
    """Layer by layer against PyTorch's functions, with running statistics that are not trivial."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    net, x = SRResNet(scale=4, **SMALL), image(2, 5, 6, 3)
    variables = drawn(net, x)
    params, stats = variables["params"], variables["batch_stats"]
    tensor = lambda a: torch.from_numpy(np.array(a))

    def conv(y, name):
        p = params[name]
        bias = tensor(p["bias"]) if "bias" in p else None
        return functional.conv2d(y, tensor(p["kernel"]).permute(3, 2, 0, 1), bias, padding="same")

    def norm(y, name):
        p, s = params[name]["norm"], stats[name]["norm"]
        return functional.batch_norm(y, *map(tensor, (s["mean"], s["var"], p["scale"], p["bias"])), eps=1e-5)

    prelu = lambda y, name: functional.prelu(y, tensor(params[name]["slope"]))
    y = start = prelu(conv(tensor(x).permute(0, 3, 1, 2), "conv_first"), "prelu_first")
    for i in (1, 2):
        inner = prelu(norm(conv(y, f"conv_{i}a"), f"norm_{i}a"), f"prelu_{i}")
        y = y + norm(conv(inner, f"conv_{i}b"), f"norm_{i}b")
    y = start + norm(conv(y, "conv_trunk"), "norm_trunk")
    for r in (2, 4):
        y = prelu(functional.pixel_shuffle(conv(y, f"up_{r}"), 2), f"prelu_up_{r}")
    expected = conv(y, "conv_last").permute(0, 2, 3, 1).numpy()
    got = jax.jit(functools.partial(net.apply, train=False))(variables, x)
    assert got.shape == (2, 20, 24, 3)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_every_parameter_learns_and_two_devices_equal_one():
    net, x = SRResNet(**SMALL), image(4, 4, 4, 3)
    variables = drawn(net, x)

    def step(variables, x):
        def loss(params):
            sr, seen = net.apply({**variables, "params": params}, x, mutable=["batch_stats"])
            return jnp.mean(sr**2), seen["batch_stats"]

        grads, stats = jax.grad(loss, has_aux=True)(variables["params"])
        return jax.lax.pmean(grads, "data"), stats

    one, two = on_devices(1, step, variables, x), on_devices(2, step, variables, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b[0], rtol=1e-3, atol=1e-5), one, two)
    nonzero_everywhere(jax.tree.map(lambda g: jnp.asarray(g[0]), two[0]))
    for old, new in zip(jax.tree.leaves(variables["batch_stats"]), jax.tree.leaves(two[1]), strict=True):
        assert np.all(old != new[0])


def test_prelu_has_one_slope_a_channel():
    x = jnp.array([[[-2.0, -2.0], [3.0, 3.0]]])
    y = PReLU().apply({"params": {"slope": jnp.array([0.25, 0.5])}}, x)
    np.testing.assert_array_equal(y, [[[-0.5, -1.0], [3.0, 3.0]]])
    assert PReLU().init(KEY, x)["params"]["slope"][0] == 0.25


def test_the_discriminator_gives_one_logit_and_halves_four_times():
    net, x = Discriminator(widths=(2, 3, 4, 5), hidden=6), jnp.zeros((2, 128, 128, 3))
    shapes = jax.eval_shape(lambda x: net.init_with_output(KEY, x), x)
    assert shapes[0].shape == (2,)
    assert shapes[1]["params"]["dense"]["kernel"].shape == (8 * 8 * 5, 6)
    assert "norm_1a" not in shapes[1]["params"]


@pytest.mark.parametrize(
    ("options", "says"),
    [({"scale": 6}, "a power of two"), ({"scale": 1}, "a power of two"), ({"skip": "x"}, "got 'x'")],
)
def test_what_the_generator_cannot_do_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        SRResNet(**options).init(KEY, jnp.zeros((1, 4, 4, 3)))


# ---- Equations


def test_each_equation_against_numpy():
    rng = np.random.default_rng(0)
    f_sr, f_hr = (jnp.asarray(rng.normal(size=(5, 7)), jnp.float32) for _ in range(2))
    sr, hr = (jnp.asarray(rng.uniform(size=(5, 6, 4, 3)), jnp.float32) for _ in range(2))
    for i in range(5):
        a, b = np.asarray(f_sr[i], float), np.asarray(f_hr[i], float)
        cosine = (a @ b) / (np.sqrt(a @ a) * np.sqrt(b @ b))
        np.testing.assert_allclose(losses.cosine_distance(f_sr, f_hr)[i], 1 - cosine, rtol=1e-5)  # (1)
        gap = np.abs(np.sqrt(a @ a) - np.sqrt(b @ b))
        np.testing.assert_allclose(iafsr.magnitude_gap(f_sr, f_hr)[i], gap, rtol=1e-4)  # (2)
        total = sum(d**2 for d in np.asarray(sr[i] - hr[i], float).ravel())
        np.testing.assert_allclose(iafsr.squared_error(sr, hr)[i] * sr[i].size, total, rtol=1e-5)  # (3)
    # SR+Ou, over two devices that see different faces: the divisor is that of the whole batch.
    halves = lambda x: x[:4].reshape(2, 2, 7)
    got = jax.vmap(iafsr.feature_distance, axis_name="data")(halves(f_sr), halves(f_hr)).reshape(-1)
    expected = ((f_sr - f_hr)[:4] ** 2).sum(-1) / (2 * np.mean((f_hr[:4] ** 2).sum(-1)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    # Of features of one length it is 1 - cosine.
    unit = lambda x: (x / jnp.linalg.norm(x, axis=-1, keepdims=True))[None]
    same = jax.vmap(iafsr.feature_distance, axis_name="data")(unit(f_sr), unit(f_hr))[0]
    np.testing.assert_allclose(same, losses.cosine_distance(f_sr, f_hr), rtol=1e-4)


def test_a_zero_feature_passes_no_nan_back():
    grad = jax.grad(lambda x: jnp.sum(iafsr.magnitude_gap(x, jnp.ones((1, 4)))))(jnp.zeros((1, 4)))
    assert np.all(np.isfinite(grad))


# ---- Configs


def test_the_papers_numbers(load_config):
    c = load_config("iafsr")
    assert iafsr.stages(c) == {"pixel": 118_750, "joint": 59_375}  # 80 and 40 epochs of 190,000 faces, 128 a step
    assert (c.optim.lr_pixel, c.optim.lr_joint, c.train.batch, c.data.flip) == (2e-3, 1e-4, 128, 0.5)
    assert (c.scale, c.model.features, c.model.blocks, c.model.kernel, c.model.skip) == (8, 64, 6, 9, "none")
    # alpha 1 on the sum of 128·128·3 squared differences, beta_1 10, beta_2 1e-3
    assert (c.weights.pixel, c.weights.cosine, c.weights.magnitude) == (128 * 128 * 3, 10.0, 1e-3)
    assert c.frozen.identity == "lightcnn9"
    assert c.data.degradation == "bicubic"


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("arg", ["{}", "quick,{}", "{},quick", "faces,{}", "{},faces", "{},debug"])
def test_rows_of_table_one_are_weights(load_config, row, arg):
    config = load_config("iafsr", arg.format(row))
    assert {name for name in config.weights if config.weights[name]} == ROWS[row]
    if row == "sr_ou":
        assert config.weights.euclid == load_config("iafsr", arg.format("proposed")).weights.cosine


@pytest.mark.parametrize("row", ROWS)
def test_a_discriminator_is_held_for_srgan_alone(load_config, row):
    config = load_config("iafsr", f"{row},debug")
    shapes = jax.eval_shape(functools.partial(iafsr.init, config), KEY, faces(config, batch=1))
    assert set(shapes.nets) == ({"g", "d"} if row == "srgan" else {"g"})


def test_an_identity_network_is_needed_by_the_terms_on_it_alone(load_config):
    assert iafsr.needed(load_config("iafsr", "sr_net")) == ("identity",)  # it is scored with it
    assert iafsr.needed(load_config("iafsr", "sr_net,frozen.identity=")) == ()
    with pytest.raises(ValueError, match=r"frozen.identity is empty, and weights.cosine needs"):
        iafsr.needed(load_config("iafsr", "frozen.identity="))


# ---- Steps


@pytest.fixture(scope="module")
def batch(load_config):
    """Four faces whose low resolution has lost half of the contrast: something that a few steps can learn."""
    out = faces(load_config("iafsr", "debug"))
    return {**out, "lr": 0.25 + 0.5 * out["lr"]}


@pytest.mark.parametrize("row", ["srgan", "sr_ou", "proposed"])
def test_a_joint_step_of_every_loss(load_config, batch, row):
    """Terms, their sum, the rate; every parameter of every network moves; thirty steps on a batch lower each term."""
    pixel = 49_152 if row == "srgan" else 500  # so that the other terms are learnt, or the adversary is outweighed
    config = load_config("iafsr", f"debug,{row},optim.lr_joint=3e-3,weights.pixel={pixel}")
    run = Start(config, devices=2)
    start = run.init(batch)
    state, first = run(start, batch, "joint")
    terms = {name for name in iafsr.CONFIG["weights"] if f"g/{name}" in first}
    assert terms == ROWS[row]
    np.testing.assert_allclose(first["g/total"], sum(config.weights[t] * first[f"g/{t}"] for t in terms), rtol=1e-5)
    assert first["rate"] == np.float32(3e-3)
    for name, net in start.nets.items():
        for part in ("params", "stats"):
            old, new = (jax.tree_util.tree_leaves_with_path(getattr(n, part)) for n in (net, state.nets[name]))
            for (path, a), (_, b) in zip(old, new, strict=True):
                assert np.any(a != b), f"{name}.{part}{jax.tree_util.keystr(path)} did not move"
    for _ in range(30):
        state, last = run(state, batch, "joint")
    for name in ROWS[row] - {"adv"}:
        assert last[f"g/{name}"] < 0.8 * first[f"g/{name}"], name
    assert state.skipped == 0
    if row == "srgan":
        assert last["d/d"] < 0.8 * first["d/d"]


@pytest.fixture(scope="module")
def pixel(load_config, batch):
    """A short stage one."""
    config = load_config("iafsr", "debug,srgan")
    run = Start(config, devices=2)
    start = state = run.init(batch)
    metrics = []
    for _ in range(30):
        state, seen = run(state, batch, "pixel")
        metrics.append(seen)
    return config, run, start, state, metrics


def test_stage_one_trains_the_generator_with_the_pixel_loss_alone(pixel):
    _, _, start, state, metrics = pixel
    assert {name for name in metrics[0] if name[:2] in ("g/", "d/")} == {"g/pixel", "g/total", "g/grad_norm"}
    assert metrics[0]["rate"] == np.float32(2e-3)
    assert metrics[-1]["g/pixel"] < 0.8 * metrics[0]["g/pixel"]
    jax.tree.map(np.testing.assert_array_equal, state.nets["d"], start.nets["d"])
    # ema 0: the average is the parameters themselves.
    jax.tree.map(np.testing.assert_array_equal, state.nets["g"].ema, state.nets["g"].params)


def test_a_poisoned_batch_leaves_parameters_and_statistics(pixel, batch):
    _, run, _, state, _ = pixel
    bad = {**batch, "hr": batch["hr"].copy(), "lr": batch["lr"].copy()}
    bad["lr"][1, 2, 2, 0] = np.nan
    after, _ = run(state, bad, "pixel")
    assert (after.skipped, after.bad_run) == (1, 1)
    jax.tree.map(np.testing.assert_array_equal, after.nets, state.nets)


def test_restoring_uses_the_running_statistics(pixel, batch):
    config, _, _, state, _ = pixel
    net = state.nets["g"]
    variables = {"params": net.params, "batch_stats": net.stats}
    predict = jax.jit(functools.partial(iafsr.predict, config))
    out = predict(variables, batch["lr"])
    assert list(out["stages"]) == [128]
    assert out["sr"].shape == (4, 128, 128, 3)
    assert out["sr"].min() >= 0
    assert out["sr"].max() <= 1
    # A face does not depend on its neighbours.
    alone = predict(variables, np.repeat(batch["lr"][:1], 4, axis=0))["sr"]
    np.testing.assert_allclose(alone[0], out["sr"][0], atol=1e-5)
    shifted = {**variables, "batch_stats": jax.tree.map(lambda s: s + 1.0, net.stats)}
    assert np.abs(predict(shifted, batch["lr"])["sr"] - out["sr"]).max() > 1e-3
    assert set(bundle._test_vector(config, variables)) == {"lr", "sr"}


def test_validation_scores_on_all_devices_and_samples_with_the_statistics(pixel, batch, monkeypatch):
    config, _, _, state, _ = pixel
    config = config.copy_and_resolve_references()
    config.log.samples, config.val.batch = 3, 3  # of four devices, a batch of 4
    frozen = {"identity": zoo.load("small_identity")[1]}
    faces = {**batch, "mask": np.array([True, True, True, False]), "names": list("abcd")}
    monkeypatch.setattr(pipeline, "open_source", lambda *_, **__: None)
    monkeypatch.setattr(pipeline, "eval_batches", lambda *_, batch, **__: [faces] if batch == 4 else [])
    checks = Validation(config, iafsr, frozen, parallel.Parallel(devices=jax.devices()[:4]))
    scores = checks(state)
    sr = checks.sample(state, 3)["stages"][128]
    hr = batch["hr"][:3]
    psnr = np.mean(-10 * np.log10(np.mean((sr - hr) ** 2, (1, 2, 3))))
    np.testing.assert_allclose(scores["val/psnr"], psnr, rtol=1e-4)
    network = zoo.network("small_identity")
    a, b = (np.asarray(network.apply(frozen["identity"], jnp.asarray(x))) for x in (sr, hr))
    cosine = np.mean(np.sum(a * b, -1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1))
    np.testing.assert_allclose(scores["val/identity_cosine"], cosine, rtol=1e-4)
