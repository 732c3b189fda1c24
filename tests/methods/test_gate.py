"""The quality gate: what it is trained on, that it learns, and what its decisions do to the pose errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jfsr.data import pipeline
from jfsr.evals import faces
from jfsr.evals import gate as evaluation
from jfsr.frozen import zoo
from jfsr.methods import common, gate
from jfsr.training import parallel

KEY = jax.random.key(0)


def pictures(count, seed=0):
    """Faces' worth of detail at every scale, 8-bit 128×128."""
    rng = np.random.default_rng(seed)
    out = np.zeros((count, 128, 128, 3))
    for side in (4, 16, 64, 128):
        for i in range(count):
            layer = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
            out[i] += np.asarray(layer.resize((128, 128), Image.Resampling.BICUBIC), float) / 4
    return np.round(out).astype(np.uint8)


def batch_of(count, seed=0):
    images = pictures(count, seed).astype(np.float32) / 255
    return {"hr": jnp.asarray(images), "position": jnp.arange(7, 7 + count)}


@pytest.fixture(scope="module")
def trained(load_config):
    """Forty steps on one batch, on two devices; the one compile of a step in this file."""
    config = load_config("gate", "debug,train.steps=40,optim.lr=0.02")
    frozen = {"pose": zoo.load("small_pose")[1]}
    batch = batch_of(8)
    mesh = parallel.Parallel("pmap", devices=jax.devices()[:2])
    start = jax.device_get(jax.jit(functools.partial(gate.init, config))(KEY, batch))
    step = mesh.compile(functools.partial(gate.train_step, config, stage="train"))
    state, seen, root = mesh.replicate(start), [], jax.random.key(1)
    there = mesh.replicate(frozen)
    for _ in range(40):
        state, metrics = step(state, there, mesh.shard(jax.device_get(batch)), root)
        seen.append(mesh.fetch(metrics))
    return config, frozen, batch, start, mesh.fetch(state), seen


def test_it_learns_one_batch_and_every_parameter_moves(trained):
    _, _, _, start, after, seen = trained
    assert seen[-1]["g/accuracy"] == 1.0
    assert seen[-1]["g/total"] < 0.3 * seen[0]["g/total"]
    assert (after.step, after.skipped) == (40, 0)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), start.nets["g"], after.nets["g"])
    assert all(jax.tree.leaves((moved.params, moved.stats, moved.ema)))


def test_the_first_loss_on_two_devices_is_that_of_all_examples_together_worked_out_in_numpy(trained):
    _, frozen, batch, start, _, seen = trained

    @jax.jit  # operation by operation it would take ten times as long
    def examples(key, batch):
        key = common.derive(key, 0, common.PURPOSE_DEGRADE)
        small = gate.low_resolution(key, batch["hr"], batch["position"], scales=(8, 16))
        return zoo.network("small_pose").apply(frozen["pose"], jnp.concatenate([batch["hr"], small])).features

    features = np.asarray(examples(jax.random.key(1), batch), np.float64)
    x = (features - features.mean(0)) / np.sqrt(features.var(0) + 1e-5)
    p = start.nets["g"].params
    x = np.maximum(x @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"], 0)
    logit = (x @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"])[:, 0]
    signed = np.where(np.arange(16) < 8, -logit, logit)  # originals are class 0
    np.testing.assert_allclose(seen[0]["g/total"], np.log1p(np.exp(-signed)).mean(), rtol=2e-3)
    np.testing.assert_allclose(seen[0]["g/accuracy"], (signed > 0).mean(), atol=1e-6)


def test_a_face_is_enlarged_from_the_scale_that_its_position_draws_wherever_it_stands():
    hr, position = batch_of(6)["hr"], jnp.arange(6)
    draw = jax.jit(functools.partial(gate.low_resolution, scales=(8, 16)))
    out = np.asarray(draw(KEY, hr, position))
    np.testing.assert_array_equal(np.asarray(draw(KEY, hr[::-1], position[::-1]))[::-1], out)
    candidates = np.stack([np.asarray(gate.enlarged(hr, scale=s)) for s in (8, 16)])
    gaps = np.abs(candidates - out).max((2, 3, 4))
    assert (gaps.min(0) < 1e-5).all()
    assert set(gaps.argmin(0)) == {0, 1}


def test_scales_are_drawn_equally_often():
    spot = jnp.zeros((1000, 4, 4, 3)).at[:, 0, 0].set(1.0)
    draw = jax.jit(functools.partial(gate.low_resolution, scales=(2, 4)))
    flat = np.ptp(np.asarray(draw(KEY, spot, jnp.arange(1000))), axis=(1, 2, 3)) < 1e-6  # from 1×1 all pixels are equal
    assert 450 < flat.sum() < 550


@pytest.mark.parametrize("scale", [8, 16])
def test_the_low_resolution_is_pillows_within_the_rounding_to_8_bits(scale):
    images = pictures(3)
    got = 255.0 * np.asarray(gate.enlarged(jnp.asarray(images, jnp.float32) / 255, scale=scale))
    small = np.stack([pipeline.low_resolution(x, scale) for x in images])
    assert np.abs(got - faces.enlarge(small, size=128)).max() < 2.0


def test_decisions_are_probabilities_that_separate_and_do_not_depend_on_the_chunk(trained):
    config, frozen, batch, _, after, _ = trained
    net = after.nets["g"]
    variables = {"params": net.params, "batch_stats": net.stats}
    decide = evaluation.program(config, variables, frozen)
    images = np.round(255 * np.asarray(batch["hr"])).astype(np.uint8)
    small = {s: faces.enlarge(np.stack([pipeline.low_resolution(x, s) for x in images]), size=128) for s in (8, 16)}
    original = decide(images)
    assert original.shape == (8,)
    assert ((original >= 0) & (original <= 0.5)).all()
    assert (decide(small[8]) > 0.5).all()
    assert (decide(small[16]) > 0.5).all()
    np.testing.assert_array_equal(decide(np.concatenate([images] * 5))[32:], original)
    assert decide(images[:0]).shape == (0,)
    # The validation's score says the same of the same faces.
    scores = jax.jit(functools.partial(gate.score, config))(variables, frozen, {"hr": batch["hr"]})
    assert sorted(scores) == ["accuracy", "right_16", "right_8", "right_original"]
    assert all((np.asarray(v) == 1).all() for v in scores.values())


def test_accuracy_weighs_originals_like_all_low_resolutions_together(trained, monkeypatch):
    config, frozen, batch, *_ = trained
    given = iter(jnp.array([[0.2, 0.7], [0.9, 0.9], [0.4, 0.6]]))  # original, 16×16, 8×8
    monkeypatch.setattr(gate, "decide", lambda *_: next(given))
    got = gate.score(config, {}, frozen, {"hr": batch["hr"][:2]})
    np.testing.assert_array_equal(got["right_original"], [1, 0])
    np.testing.assert_array_equal(got["right_16"], [1, 1])
    np.testing.assert_array_equal(got["right_8"], [0, 1])
    np.testing.assert_allclose(got["accuracy"], [0.75, 0.5])


def test_what_the_gate_cannot_stand_on_is_refused(load_config):
    batch = batch_of(2)
    with pytest.raises(ValueError, match="'small_identity', a network of kind 'identity'; give a pose network"):
        gate.init(load_config("gate", "debug,frozen.pose=small_identity"), KEY, batch)
    with pytest.raises(ValueError, match="scales is empty"):
        gate.init(load_config("gate", "debug,scales=()"), KEY, batch)
    with pytest.raises(ValueError, match="a run of pose decides nothing"):
        evaluation.program(load_config("pose", "debug"), {}, {})
