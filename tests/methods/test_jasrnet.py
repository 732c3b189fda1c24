"""JASRNet: the published counts, the network against PyTorch, each equation, each variant, landmarks out."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jfsr import api, geometry, metrics
from jfsr.__main__ import main
from jfsr.data import crops, heatmaps, pipeline, records
from jfsr.drawing import figures
from jfsr.methods import common, jasrnet
from jfsr.methods.common import Net, apply_updates
from jfsr.models.jasrnet import JASRNet, Output, enlarge
from jfsr.training import checkpoint, parallel

KEY = jax.random.key(0)


def face_points(batch, seed=0):
    """68 random points inside the image; of the last face one is unknown, one hidden, one outside."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(8, 120, (batch, 68, 2)).astype(np.float32)
    visible = np.ones((batch, 68), bool)
    points[-1, 3], visible[-1, 5], points[-1, 7] = np.nan, False, [140, 50]
    return points, visible


def faces(batch=4, seed=0):
    rng = np.random.default_rng(seed)
    coarse = jnp.asarray(rng.uniform(size=(batch, 8, 8, 3)), jnp.float32)
    hr = np.clip(np.asarray(jax.image.resize(coarse, (batch, 128, 128, 3), "cubic")), 0, 1)
    points, visible = face_points(batch, seed)
    return {
        "hr": hr,
        "lr": hr.reshape(batch, 16, 8, 16, 8, 3).mean((2, 4)),
        "pose_deg": np.full((batch, 3), np.nan, np.float32),
        "identity": np.full(batch, -1, np.int32),
        "landmarks_px": points,
        "visible": visible,
        "position": np.arange(batch, dtype=np.int32),
    }


def drawn(net, x, seed=2):
    """Parameters drawn by NumPy: no bias is zero, and no init has to compile."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(net.init, KEY, x)
    return jax.tree.map(lambda s: jnp.asarray(0.1 * rng.normal(size=s.shape), jnp.float32), shapes)


def size(config):
    shapes = jax.eval_shape(jasrnet.generator(config).init, KEY, jnp.zeros((1, 16, 16, 3)))
    return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes["params"]))


# ---- The network


@pytest.mark.parametrize(
    ("arg", "printed"), [("", 18.96), ("two_stages", 17.83), ("one_stage", 16.69), ("res16", 14.46)]
)
def test_the_papers_counts_in_units_of_2_20(load_config, arg, printed):
    assert round(size(load_config("jasrnet", arg)) / 2**20, 2) == printed


def test_the_full_network_has_19885778_parameters(load_config):
    assert size(load_config("jasrnet")) == 19_885_778
    conv = 128 * 128 * 9 + 128
    # What each row of Table 4 leaves out: fusion and long skip are three convolutions each.
    full = size(load_config("jasrnet", "full"))
    assert full - size(load_config("jasrnet", "jt_f")) == 3 * conv
    assert full - size(load_config("jasrnet", "jt")) == 6 * conv
    heads = [size(load_config("jasrnet", arg)) for arg in ("bl", "bl,align_only", "jt")]
    shared = sum(heads[:2]) - heads[2]
    assert shared == 128 * 27 + 128 + 2 * (2 + 3 + 4 + 2 + 32) * conv
    # Concatenation doubles the input of two fusing convolutions and adds one that reads both halves.
    assert size(load_config("jasrnet", "concat")) - full == 2 * (conv - 128) + conv + (conv - 128)


@pytest.mark.parametrize(("fusion", "long_skip"), [("add", True), ("concat", True), ("none", False)])
def test_the_network_equals_pytorch(fusion, long_skip):
    torch = pytest.importorskip("torch")
    from support.reference import jasrnet_torch

    lr = jax.random.uniform(KEY, (2, 2, 3, 3))
    net = JASRNet(features=5, blocks=3, stages=3, fusion=fusion, long_skip=long_skip, landmarks=6, unroll=1)
    variables = drawn(net, lr)
    ours = jax.jit(net.apply)(variables, lr)
    large = torch.tensor(np.asarray(enlarge(lr, 8))).permute(0, 3, 1, 2)
    sr, maps = jasrnet_torch.forward(variables["params"], large, fusion=fusion, long_skip=long_skip)
    assert ours.sr.shape == (2, 16, 24, 3)
    assert ours.heatmaps.shape == (3, 2, 2, 3, 7)
    np.testing.assert_allclose(ours.sr, sr.permute(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(ours.heatmaps, maps.permute(0, 1, 3, 4, 2), atol=1e-5)


def test_an_untrained_network_with_the_bicubic_skip_returns_pillows_bicubic():
    lr = np.random.default_rng(0).uniform(size=(1, 2, 3, 3)).astype(np.float32)
    net = JASRNet(features=4, blocks=1, stages=1, skip="bicubic", unroll=1)
    silent = jax.tree.map(jnp.zeros_like, drawn(net, lr))
    sr = jax.jit(net.apply)(silent, lr).sr[0]
    for channel in range(3):
        pil = Image.fromarray(lr[0, :, :, channel]).resize((24, 16), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(sr[:, :, channel], np.asarray(pil), atol=2e-6)


def test_other_scales_have_the_same_parameters():
    trees = [jax.eval_shape(JASRNet(scale=s).init, KEY, jnp.zeros((1, 128 // s, 128 // s, 3))) for s in (2, 8, 16)]
    assert trees[0] == trees[1] == trees[2]


@pytest.mark.parametrize(
    ("options", "shape", "says"),
    [
        ({"fusion": "sum"}, (1, 2, 2, 3), "fusion must be one of add, concat, none, got 'sum'"),
        ({"heads": "landmarks"}, (1, 2, 2, 3), "heads must be one of"),
        ({"stages": 0}, (1, 2, 2, 3), "at least 1"),
        ({"scale": 2}, (1, 6, 8, 3), "multiple of 8"),
    ],
)
def test_what_the_network_does_not_take_is_named(options, shape, says):
    with pytest.raises(ValueError, match=says):
        jax.eval_shape(JASRNet(**options).init, KEY, jnp.zeros(shape))


# ---- Variants: what each row of the tables has, and that all of it learns

BOTH = {"pixel", "heatmap"}
VARIANTS = {
    "bl": {"pixel"}, "bl,align_only": {"heatmap"}, "bl_f": {"pixel"}, "bl_f,align_only": {"heatmap"}, "jt": BOTH,
    "jt_f": BOTH, "full": BOTH, "concat": BOTH, "add,two_stages": BOTH, "one_stage,res16": BOTH, "sr_only": {"pixel"},
    "quick": BOTH, "faces": BOTH,
}  # fmt: skip


@pytest.mark.parametrize("arg", VARIANTS)
def test_every_parameter_of_every_variant_gets_a_gradient(load_config, arg):
    config = load_config("jasrnet", f"{arg},model.features=4,model.blocks=2")
    net = jasrnet.generator(config).clone(unroll=1)
    small = jax.random.uniform(KEY, (2, 2, 2, 3))
    points = np.random.default_rng(0).uniform(0, 15, (2, 68, 2)).astype(np.float32)
    batch = {
        "hr": jax.random.uniform(jax.random.key(1), (2, 16, 16, 3)),
        "landmarks_px": jnp.asarray(points),
        "visible": jnp.ones((2, 68), bool),
    }

    def loss(params):
        terms = jasrnet._terms(config, net.apply({"params": params}, small), batch)
        assert set(terms) == VARIANTS[arg]
        return sum(terms.values())

    params = jax.tree.map(lambda x: x[None], drawn(net, small)["params"])
    grads = jax.jit(jax.vmap(jax.grad(loss), axis_name="data"))(params)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        name = jax.tree_util.keystr(path)
        stacked = "blocks" in name or "encoder" in name or "features" in name
        for one in grad[0] if stacked else grad:  # the parameters of every block on its own
            assert np.any(one), f"no gradient reaches {name}"


# ---- The loss, (1)


@pytest.fixture
def config(load_config):
    return load_config("jasrnet", "debug")


def slow_targets(points, visible, *, sigma=4.0, floor=0.01):
    """One cell and one landmark at a time; (68 maps and the background, which of them count)."""
    maps, counts = np.zeros((16, 16, 69)), np.zeros(69, bool)
    for k in range(68):
        x, y = points[k]
        if not visible[k] or np.isnan(x) or not (-0.5 <= x <= 127.5 and -0.5 <= y <= 127.5):
            continue
        counts[k] = counts[68] = True
        for i in range(16):
            for j in range(16):
                value = np.exp(-((8 * j + 3.5 - x) ** 2 + (8 * i + 3.5 - y) ** 2) / 2 / sigma**2)
                maps[i, j, k] = value if value >= floor else 0
    maps[..., 68] = 1 - maps[..., :68].max(-1)
    return maps, counts


def test_equation_1_equals_numpy(config):
    rng, batch = np.random.default_rng(1), faces(batch=3)
    batch["landmarks_px"][1] = np.nan  # a face without landmarks has no say in the heatmaps
    sr = rng.uniform(size=(3, 128, 128, 3)).astype(np.float32)
    maps = rng.normal(size=(2, 3, 16, 16, 69)).astype(np.float32)
    run = jax.vmap(lambda o, b: jasrnet._terms(config, o, b), axis_name="data")
    got = run(*jax.tree.map(lambda x: jnp.asarray(x)[None], (Output(sr, maps), batch)))

    np.testing.assert_allclose(got["pixel"][0], np.abs(sr - batch["hr"]).mean(), rtol=1e-5)
    of_face = []
    for i in (0, 2):
        target, counts = slow_targets(batch["landmarks_px"][i], batch["visible"][i])
        of_face.append(0.5 * sum(((maps[s, i] - target)[..., counts] ** 2).sum() for s in range(2)))
    np.testing.assert_allclose(got["heatmap"][0], np.mean(of_face), rtol=1e-5)
    assert slow_targets(batch["landmarks_px"][2], batch["visible"][2])[1].sum() == 66  # three of 68 do not count


def test_adam_with_coupled_weight_decay_is_pytorchs(config):
    torch = pytest.importorskip("torch")
    rng, tx = np.random.default_rng(0), jasrnet.optimizer(config)
    start = {"bias": rng.normal(size=4), "kernel": rng.normal(size=(3, 4))}
    start = {name: (0.1 * value).astype(np.float32) for name, value in start.items()}
    theirs = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    adam = torch.optim.Adam(theirs.values(), lr=5e-5, betas=(0.9, 0.999), eps=1e-8, weight_decay=5e-4)
    net = Net(params=start, opt=tx.init(start))
    for _ in range(4):
        # Small beside the decay: AdamW, or a decay that spares biases, would move otherwise.
        grads = {name: (1e-5 * rng.normal(size=value.shape)).astype(np.float32) for name, value in start.items()}
        net = apply_updates(net, grads, tx=tx, rate=jnp.float32(5e-5))
        for name, grad in grads.items():
            theirs[name].grad = torch.tensor(grad)
        adam.step()
    for name, first in start.items():
        moved = net.params[name] - first
        np.testing.assert_allclose(moved, theirs[name].detach().numpy() - first, atol=1e-7)
        assert np.abs(moved).max() > 1e-4


def test_the_rate_halves_at_epochs_20_and_30(load_config):
    config = load_config("jasrnet")
    assert jasrnet.stages(config) == {"joint": 236_100}
    epoch = 47_220 / 8
    rates = [float(jasrnet._rate(config, jnp.array(int(epoch * e)))) for e in (0, 19.99, 20.01, 29.99, 30.01, 39.99)]
    np.testing.assert_allclose(rates, [5e-5, 5e-5, 2.5e-5, 2.5e-5, 1.25e-5, 1.25e-5])


# ---- Steps


@pytest.fixture(scope="module")
def run(load_config):
    """Over-fits one batch on two devices: (config, start, end, the metrics of every step)."""
    config = load_config("jasrnet", "debug,one_stage,optim.lr=0.01,model.init_std=0.15")
    batch, mesh = faces(), parallel.Parallel("pmap", devices=jax.devices()[:2])
    step = mesh.compile(functools.partial(jasrnet.train_step, config, stage="joint"))
    start = jax.device_get(jax.jit(functools.partial(jasrnet.init, config))(KEY, batch))
    state, seen = mesh.replicate(start), []
    for i in range(40):
        shown = batch
        if i == 1:
            shown = {**batch, "hr": batch["hr"].copy()}
            shown["hr"][0, 0, 0, 0] = np.nan
        state, found = step(state, {}, mesh.shard(shown), KEY)
        seen.append(mesh.fetch(found))
    return config, start, mesh.fetch(state), seen


def test_one_batch_is_over_fitted_in_either_loss(run):
    _, start, end, seen = run
    for name in ("g/pixel", "g/heatmap"):
        assert np.mean([m[name] for m in seen[-3:]]) < 0.6 * seen[0][name], name
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(start.nets["g"].params), jax.tree.leaves(end.nets["g"].params), strict=True
    ):
        assert np.any(old != new), f"{jax.tree_util.keystr(path)} did not move"
    jax.tree.map(np.testing.assert_array_equal, end.nets["g"].ema, end.nets["g"].params)  # no average is kept


def test_the_total_is_the_weighed_sum_and_a_poisoned_batch_is_thrown_away(run):
    config, _, end, seen = run
    w, first = config.weights, seen[0]
    np.testing.assert_allclose(first["g/total"], w.pixel * first["g/pixel"] + w.heatmap * first["g/heatmap"], rtol=1e-5)
    assert (seen[1]["skipped"], seen[1]["bad_run"], seen[2]["bad_run"]) == (1, 1, 0)
    # The update was thrown away: the next step sees the parameters that the poisoned one saw.
    np.testing.assert_allclose(seen[2]["g/heatmap"], seen[1]["g/heatmap"], rtol=1e-5)
    assert (end.step, end.skipped) == (40, 1)


def test_fresh_kernels_are_normal_and_every_block_is_its_own(run):
    leaf = run[1].nets["g"].params["encoder_c"]["conv2"]
    kernels = leaf["kernel"]
    assert kernels.shape == (4, 3, 3, 4, 4)
    assert not np.allclose(kernels[0], kernels[1])
    np.testing.assert_allclose(kernels.std(), 0.15, rtol=0.1)
    assert not np.any(leaf["bias"])


# ---- What comes out


@pytest.mark.parametrize(
    ("arg", "keys"),
    [
        ("full", {"sr", "stages", "heatmaps", "landmarks_px", "landmarks_soft_px"}),
        ("sr_only", {"sr", "stages"}),
        ("align_only", {"sr", "stages", "heatmaps", "landmarks_px", "landmarks_soft_px"}),
    ],
)
def test_predict_and_score_of_every_kind_of_network(load_config, arg, keys):
    config = load_config("jasrnet", f"debug,{arg},model.blocks=1,model.stages=1,model.skip=bicubic")
    net, batch = jasrnet.generator(config), faces(batch=2)
    batch = {k: jnp.asarray(v) for k, v in batch.items()}
    variables = jax.tree.map(lambda x: 0.1 * x, drawn(net, batch["lr"]))
    found = jax.jit(functools.partial(jasrnet.predict, config))(variables, batch["lr"])
    scores = jax.jit(functools.partial(jasrnet.score, config))(variables, {}, batch)
    assert set(found) == keys
    assert found["sr"].shape == (2, 128, 128, 3)
    assert 0 <= found["sr"].min() <= found["sr"].max() <= 1
    if arg == "align_only":
        np.testing.assert_allclose(found["sr"], jnp.clip(enlarge(batch["lr"], 8), 0, 1), atol=1e-6)
    assert (
        set(scores)
        == {"full": {"psnr", "nmse", "nmse_box"}, "sr_only": {"psnr"}, "align_only": {"nmse", "nmse_box"}}[arg]
    )
    for name, normaliser in (("nmse", "outer_eyes"), ("nmse_box", "box_sqrt")):
        if name in scores:
            points = [np.asarray(x) for x in (found["landmarks_px"], batch["landmarks_px"])]
            wanted = metrics.nmse(*points, visible=np.asarray(batch["visible"]), normaliser=normaliser)
            np.testing.assert_allclose(scores[name], wanted, rtol=1e-4)


def test_arg_max_gives_back_landmarks_at_cell_centres_exactly():
    cells = np.stack(np.meshgrid(np.arange(16), np.arange(16)), -1).reshape(-1, 2)
    points = np.zeros((4, 68, 2), np.float32)
    points.reshape(-1, 2)[: len(cells)] = 8 * cells[:256] + 3.5
    points.reshape(-1, 2)[256:] = 3.5
    maps = heatmaps.landmark_heatmaps(jnp.asarray(points), jnp.ones((4, 68), bool), size=16, sigma_px=4.0, floor=0.01)
    np.testing.assert_array_equal(geometry.decode_heatmaps(maps), points)
    # The centre of mass is that of a whole blob away from the border alone.
    whole = ((points > 16) & (points < 111)).all(-1)
    np.testing.assert_allclose(geometry.decode_heatmaps(maps, soft=True)[whole], points[whole], atol=1e-3)
    assert whole.sum() > 100


def test_arg_max_is_off_by_half_a_cell_at_most_and_soft_by_much_less():
    points = np.random.default_rng(0).uniform(8, 119, (8, 68, 2)).astype(np.float32)
    maps = heatmaps.landmark_heatmaps(jnp.asarray(points), jnp.ones((8, 68), bool), size=16, sigma_px=4.0, floor=0.01)
    hard = np.abs(geometry.decode_heatmaps(maps) - points)
    soft = np.abs(geometry.decode_heatmaps(maps, soft=True) - points)
    assert 3.5 < hard.max() <= 4.0 + 1e-4
    assert soft.max() < 0.7
    # What the coarse maps cost by arg-max: the mean distance to the centre of an 8 px cell.
    np.testing.assert_allclose(np.linalg.norm(geometry.decode_heatmaps(maps) - points, axis=-1).mean(), 3.06, atol=0.15)


def test_soft_decoding_is_the_centre_of_mass_in_the_window_and_sees_no_other_peak():
    maps = np.zeros((1, 12, 20, 2), np.float32)
    maps[0, 3, 5, 0], maps[0, 3, 6, 0] = 3.0, 1.0
    maps[0, 11, 18, 0] = 2.9  # farther than the window
    maps[0, :, :, 1] = -5.0  # no peak, nothing positive: some finite place
    got = geometry.decode_heatmaps(jnp.asarray(maps), image_size=160, soft=True)
    np.testing.assert_allclose(got[0, 0], [(5.25 + 0.5) * 8 - 0.5, (3 + 0.5) * 160 / 12 - 0.5], atol=1e-3)
    assert np.isfinite(got).all()


# ---- Metrics


def test_nmse_known_answers():
    true = np.random.default_rng(0).uniform(20, 100, (3, 68, 2)).astype(np.float32)
    true[0, 36], true[0, 45] = [30, 40], [70, 70]  # 50 apart
    guess = true + np.array([3, 4], np.float32)  # every point 5 off
    np.testing.assert_allclose(metrics.nmse(guess, true)[0], 10.0, rtol=1e-5)
    true[0, :2] = np.nan  # two unknown points do not count
    np.testing.assert_allclose(metrics.nmse(guess, true)[0], 10.0, rtol=1e-5)
    seen = np.arange(68)[None] % 2 > 0  # one eye corner is hidden: it does not count, but says how large the face is
    wild = np.where(seen[..., None], guess, 0).astype(np.float32)
    np.testing.assert_allclose(metrics.nmse(wild, true, visible=np.repeat(seen, 3, 0))[0], 10.0, rtol=1e-5)
    true[0, 36:42], true[0, 42:48] = [40, 50], [40, 75]
    guess[0] = true[0]
    guess[0, 10] = true[0, 10] + [0, 33]
    np.testing.assert_allclose(metrics.nmse(guess, true, normaliser="pupils")[0], 100 * 33 / 66 / 25, rtol=1e-5)
    corners = np.full((1, 68, 2), [20, 30], np.float32)
    corners[0, 60] = [60, 40]
    np.testing.assert_allclose(metrics.nmse(corners + 1, corners, normaliser="box_sqrt"), 100 * np.sqrt(2) / 20)
    assert np.isnan(metrics.nmse(np.full_like(corners, 5), np.full_like(corners, np.nan)))
    corners[0, 36] = np.nan
    assert np.isnan(metrics.nmse(corners + 1, corners))


def test_failure_rate_and_area_under_the_curve():
    errors = np.array([1.0, 4.0, 12.0, np.nan, 9.0])
    assert metrics.failure_rate(errors, limit=8.0) == 50.0
    at = np.linspace(0, 8, 80_001)
    curve = np.mean(errors[~np.isnan(errors)][:, None] <= at, axis=0)
    np.testing.assert_allclose(metrics.error_auc(errors, limit=8.0), 100 * np.trapezoid(curve, at) / 8, atol=1e-2)
    assert metrics.error_auc(np.zeros(3)) == 100.0
    assert np.isnan(metrics.error_auc(np.full(2, np.nan)))
    assert np.isnan(metrics.failure_rate(np.full(2, np.nan)))


# ---- Evaluation, pictures, the command line


def test_dots_are_drawn_where_the_landmarks_are():
    points = np.array([[10.0, 20.0], [100.0, 64.0], [np.nan, 3.0]], np.float32)
    face = np.full((128, 128, 3), 128, np.uint8)
    drawn_face = figures.draw_landmarks(face, points, true_px=points + 8, size=512)
    assert drawn_face.shape == (512, 512, 3)
    for x, y in points[:2]:
        for shift, colour in ((0, figures.FOUND), (8, figures.TRUE)):
            at = np.round((np.array([x, y]) + shift + 0.5) * 4 - 0.5).astype(int)
            np.testing.assert_array_equal(drawn_face[at[1], at[0]], colour)
    assert (drawn_face == 128).all(-1).mean() > 0.99
    assert (face == 128).all(), "the picture that was given is left alone"


def test_restore_draws_the_landmarks_and_prints_nothing_odd(load_config, tmp_path, capsys):
    config = load_config("jasrnet", "debug,one_stage,model.blocks=1,model.skip=bicubic")
    params = jax.tree.map(np.asarray, drawn(jasrnet.generator(config), jnp.zeros((1, 16, 16, 3)))["params"])
    manager = checkpoint.open_manager(tmp_path / "run", config)
    checkpoint.save(manager, jax.device_get(common.new_state({"g": Net(params, ema=params)})), wait=True)
    manager.close()
    for name in ("a", "b"):
        image = np.random.default_rng(ord(name)).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    words = [
        "restore",
        "--cropped",
        str(tmp_path / "a.png"),
        str(tmp_path / "b.png"),
        "--checkpoint",
        str(tmp_path / "run"),
    ]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    names = ["a.png", "b.png", "a_landmarks.png", "b_landmarks.png"]
    assert (out.splitlines(), err) == ([str(tmp_path / "out" / name) for name in names], "")

    restorer = api.load(tmp_path / "run")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    faces, points = restorer(files), restorer.landmarks(files)
    assert points.shape == (2, 68, 2)
    assert not np.array_equal(points, restorer.landmarks(files, soft=True))
    wanted = jasrnet.predict(config, {"params": params}, jnp.asarray(restorer.low_resolution(files)))["landmarks_px"]
    np.testing.assert_allclose(points, wanted, atol=1e-3)
    for name, face, marks in zip("ab", faces, points, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / f"{name}.png")), face)
        drawing = np.asarray(Image.open(tmp_path / "out" / f"{name}_landmarks.png"))
        np.testing.assert_array_equal(drawing, figures.draw_landmarks(face, marks))

    (tmp_path / "out" / "a.png").unlink()
    (tmp_path / "out" / "b.png").unlink()
    assert main([*words, "-o", str(tmp_path / "out")]) == 2  # the drawings are not replaced unasked either
    assert "a_landmarks.png exists" in capsys.readouterr().err


def test_a_system_that_aligns_nothing_says_so(load_config):
    config = load_config("jasrnet", "debug,sr_only,model.blocks=1")
    params = drawn(jasrnet.generator(config), jnp.zeros((1, 16, 16, 3)))["params"]
    restorer = api.Restorer(config, {"params": params})
    restorer.outputs = lambda lr: {"sr": lr}
    with pytest.raises(ValueError, match="finds no landmarks; a jasrnet with an alignment head does"):
        restorer.landmarks(np.zeros((16, 16, 3), np.uint8))


# ---- Augmentation


class Dots:
    """Photographs of 200×160 with a white dot at each of three landmarks."""

    name, skipped = "dots", ()

    def __len__(self):
        return 3

    def name_of(self, index):
        return f"{index}.png"

    def report(self):
        return self.name

    def __getitem__(self, index):
        record = records.new_record(np.zeros((160, 200, 3), np.uint8), f"{index}.png")
        for k, (x, y) in enumerate([(70, 60), (120, 70), (95, 110)]):
            record["image"][y - 1 : y + 2, x - 1 : x + 2] = 255
            record["landmarks_px"][k] = x, y
        return record


def test_faces_are_turned_with_their_landmarks_before_the_crop():
    source = crops.Cropped(Dots(), rule="landmark_box", margin=1.6)
    mixture = lambda **options: pipeline.Mixture(
        {"dots": source}, {"dots": 1.0}, seed=0, shuffle=True, flip=0.0, jitter=0.0, **options
    )
    turned, straight = mixture(rotate_deg=40.0), mixture()
    angles = []
    for position in range(6):
        record, plain = turned.record(position), straight.record(position)
        for x, y in record["landmarks_px"][:3]:
            assert record["image"][round(float(y)), round(float(x))].mean() > 150
        edge = lambda r: np.subtract(*r["landmarks_px"][1::-1])
        angles.append(np.degrees(np.arctan2(*edge(record)[::-1]) - np.arctan2(*edge(plain)[::-1])))
        again = turned.record(position)
        np.testing.assert_array_equal(record["image"], again["image"])
    assert np.ptp(angles) > 20
    assert np.abs(angles).max() <= 40.01
