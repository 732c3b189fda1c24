"""The training steps: every term, every variant, every parameter; one device and many; the guard; resuming."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.steps import KEY, Run, assert_close, faces, frozen_for

from jfsr.methods import common, msgan


@pytest.fixture(scope="module")
def joint(load_config):
    """One compile of the full joint step on one device, shared by the tests below."""
    config = load_config("msgan", "debug")
    frozen = frozen_for(config)
    batch = faces(config)
    run = Run(config, frozen=frozen)
    start = run.init(batch)
    after, metrics = run(start, batch, "joint")
    return config, frozen, batch, run, start, after, metrics


def test_joint_step_logs_every_term_of_the_paper(joint):
    *_, metrics = joint
    terms = {"g/l1", "g/adv", "g/ip", "g/pa", "g/est", "g/sim", "g/m", "g/total"}
    assert terms | {"d/d_32", "d/d_64", "d/d_128", "d/d_r"} <= set(metrics)
    assert all(np.isfinite(v) for v in metrics.values())


def test_total_is_the_weighed_sum(joint):
    config, *_, metrics = joint
    w = config.weights
    image = sum(w[k] * metrics[f"g/{k}"] for k in ("l1", "adv", "ip"))
    on_pose = sum(w[k] * metrics[f"g/{k}"] for k in ("pa", "est", "sim", "m"))
    np.testing.assert_allclose(metrics["g/total"], image + w.pose * on_pose, rtol=1e-5)


def test_joint_step_moves_every_parameter_of_every_network(joint):
    _, _, _, _, start, after, _ = joint
    for name, net in start.nets.items():
        for (path, old), new in zip(
            jax.tree_util.tree_leaves_with_path(net.params), jax.tree.leaves(after.nets[name].params), strict=True
        ):
            assert np.any(old != new), f"{name}{jax.tree_util.keystr(path)} did not move"
        for path, old in jax.tree_util.tree_leaves_with_path(net.stats):
            if np.size(old) == 1 and path[-1].key.endswith("/u"):
                continue  # the singular vector of a single output channel is 1 and stays so
            new = functools.reduce(lambda t, k: t[k.key], path, after.nets[name].stats)
            assert np.any(old != new), f"statistics {name}{jax.tree_util.keystr(path)} did not move"
    assert after.step == 1
    assert after.skipped == 0


@pytest.mark.parametrize(("devices", "how"), [(4, "pmap"), (2, "shard_map"), (1, "shard_map")])
def test_many_devices_equal_one(joint, devices, how):
    config, frozen, batch, _, start, after, metrics = joint
    got, seen = Run(config, devices=devices, how=how, frozen=frozen)(start, batch, "joint")
    assert_close(got, after)
    assert_close(seen, metrics, atol=1e-4)


def test_unlabelled_faces_take_no_part_in_the_pose_error_and_poison_nothing(joint):
    _, _, batch, run, start, *_ = joint
    mixed = {**batch, "pose_deg": batch["pose_deg"].copy()}
    mixed["pose_deg"][1:] = np.nan
    _, got = run(start, mixed, "joint")
    assert np.isfinite(got["g/est"])
    unlabelled = {**batch, "pose_deg": np.full_like(batch["pose_deg"], np.nan)}
    state, none = run(start, unlabelled, "joint")
    assert none["g/est"] == 0
    assert state.skipped == 0
    # Each face labelled alone: their mean is what all four labels give.
    alone = []
    for i in range(4):
        one = {**batch, "pose_deg": np.full_like(batch["pose_deg"], np.nan)}
        one["pose_deg"][i] = batch["pose_deg"][i]
        alone.append(run(start, one, "joint")[1]["g/est"])
    np.testing.assert_allclose(np.mean(alone), run(start, batch, "joint")[1]["g/est"], rtol=1e-4)


def test_labels_spread_unevenly_over_devices_weigh_the_same(joint):
    config, frozen, batch, run, start, *_ = joint
    mixed = {**batch, "pose_deg": batch["pose_deg"].copy()}
    mixed["pose_deg"][:3] = np.nan  # all the labels sit on the last of four devices
    one, seen_one = run(start, mixed, "joint")
    four, seen_four = Run(config, devices=4, frozen=frozen)(start, mixed, "joint")
    np.testing.assert_allclose(seen_four["g/est"], seen_one["g/est"], rtol=1e-4)
    assert_close(four, one)


def test_a_poisoned_batch_changes_nothing_but_the_counters(joint):
    _, _, batch, run, _, after, _ = joint
    bad = {**batch, "hr": batch["hr"].copy()}
    bad["hr"][2, 5, 5, 0] = np.nan
    state, metrics = run(after, bad, "joint")
    assert (state.step, state.skipped, state.bad_run) == (2, 1, 1)
    assert metrics["bad_run"] == 1
    jax.tree.map(np.testing.assert_array_equal, state.nets, after.nets)
    state, _ = run(state, batch, "joint")
    assert (state.step, state.skipped, state.bad_run) == (3, 1, 0)


def test_pixel_stage_trains_the_generator_alone_and_lowers_l1(load_config):
    config = load_config("msgan", "debug,optim.lr_pixel=0.003")
    batch = faces(config)
    run = Run(config)
    start = state = run.init(batch)
    first = None
    for _ in range(120):
        state, metrics = run(state, batch, "pixel")
        first = metrics["g/l1"] if first is None else first
    assert metrics["g/l1"] < 0.75 * first, "one batch was not over-fitted"
    for name in set(state.nets) - {"g"}:
        jax.tree.map(np.testing.assert_array_equal, state.nets[name].params, start.nets[name].params)
    assert np.all(np.isfinite(jax.tree.leaves(state.nets["g"].ema)[0]))


@pytest.mark.parametrize(
    ("variant", "kinds", "nets"),
    [
        ("generator", (), {"g"}),
        ("msgan", ("identity",), {"g", "d_32", "d_64", "d_128"}),
        ("msgan_pa", ("pose", "identity"), {"g", "d_32", "d_64", "d_128", "d_r", "norm"}),
        ("joint", ("pose", "identity"), {"g", "d_32", "d_64", "d_128", "d_r", "norm"}),
    ],
)
def test_ablations_hold_the_networks_they_need(load_config, variant, kinds, nets):
    config = load_config("msgan", f"{variant},debug")
    assert msgan.needed(config) == kinds
    shapes = jax.eval_shape(functools.partial(msgan.init, config), KEY, faces(config))
    assert set(shapes.nets) == nets


def test_x16_has_four_stages(load_config):
    config = load_config("msgan", "x16,debug")
    shapes = jax.eval_shape(functools.partial(msgan.init, config), KEY, faces(config))
    assert {"d_16", "d_32", "d_64", "d_128"} <= set(shapes.nets)
    variables = {"params": jax.tree.map(lambda x: jnp.zeros(x.shape), shapes.nets["g"].params)}
    out = msgan.predict(config, variables, jnp.full((2, 8, 8, 3), 0.5))
    assert sorted(out["stages"]) == [16, 32, 64, 128]
    assert out["sr"].shape == (2, 128, 128, 3)
    np.testing.assert_allclose(out["sr"], 0.5, atol=1e-5)  # no parameters: the skip over bicubic alone


@pytest.mark.parametrize("name", ["pose", "identity"])
def test_rulers_learn_one_batch_on_two_devices(load_config, name):
    arg = "debug,train.steps=40" + (",model.classes=4" if name == "identity" else "")
    config = load_config(name, arg)
    batch = faces(config, batch=8)
    run = Run(config, devices=2)
    start = state = run.init(batch)
    totals = []
    for _ in range(25):
        state, metrics = run(state, batch, "train")
        totals.append(float(metrics["total"]))
    assert np.mean(totals[-3:]) < 0.6 * np.mean(totals[:3])
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), start.nets["g"].params, state.nets["g"].params)
    assert all(jax.tree.leaves(moved))


def test_rate_falls_at_the_fractions():
    rate = functools.partial(common.rate_with_drops, base=1.0, total=100, drops=(0.5, 0.75, 0.9), factor=0.5)
    got = [float(rate(jnp.array(s))) for s in (0, 49, 50, 74, 75, 90, 99)]
    assert got == [1.0, 1.0, 0.5, 0.5, 0.25, 0.125, 0.125]


def test_a_term_without_a_weight_is_refused():
    with pytest.raises(KeyError, match="lpips"):
        common.weigh({"l1": jnp.ones(()), "lpips": jnp.ones(())}, {"l1": 1.0})


def test_keys_differ_by_step_and_purpose_and_not_by_history():
    draw = lambda s, p: np.asarray(jax.random.uniform(common.derive(KEY, s, p), (3,)))
    assert not np.array_equal(draw(1, 0), draw(1, 1))
    assert not np.array_equal(draw(1, 0), draw(2, 0))
    np.testing.assert_array_equal(draw(7, 1), draw(7, 1))
