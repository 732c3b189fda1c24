"""MSGAN: every term, every variant, every parameter; one device and many; the guard."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.steps import KEY, Run, assert_close, faces, frozen_for

from jfsr.methods import OF_NETS, common, msgan
from jfsr.training import checkpoint


@pytest.fixture(scope="module")
def joint(load_config):
    """One compile of the full joint step on one device, by pmap, shared by the tests below."""
    config = load_config("msgan", "debug")
    frozen = frozen_for(config)
    batch = faces(config)
    run = Run(config, frozen=frozen)
    start = run.init(batch)
    after, metrics = run(start, batch, "joint")
    return config, frozen, batch, run, start, after, metrics


def test_joint_step_logs_every_term_of_the_paper(joint):
    *_, metrics = joint
    terms = {"pixel", "adv", "identity", "pose_adv", "pose_est", "pose_angle", "pose_norm", "total", "norm_beyond"}
    of_nets = {f"{kind}/{d}" for kind in OF_NETS for d in ("d_32", "d_64", "d_128", "d_r")} - {"sigma/d_r"}
    assert {f"g/{term}" for term in terms} | of_nets | {"update/g"} <= set(metrics)
    assert all(np.isfinite(v) for v in metrics.values())


def test_total_is_the_weighed_sum(joint):
    config, *_, metrics = joint
    w = config.weights
    image = sum(w[k] * metrics[f"g/{k}"] for k in ("pixel", "adv", "identity"))
    on_pose = sum(w[k] * metrics[f"g/{k}"] for k in msgan.POSE_TERMS)
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


@pytest.fixture(scope="module")
def on_four(joint):
    """The same step on four devices, by shard_map."""
    config, frozen, *_ = joint
    return Run(config, devices=4, how="shard_map", frozen=frozen)


def test_many_devices_equal_one(joint, on_four):
    """By shard_map; pmap on several devices is compared with one in IAFSR's tests."""
    _, _, batch, _, start, after, metrics = joint
    got, seen = on_four(start, batch, "joint")
    assert_close(got, after)
    assert_close(seen, metrics, atol=1e-4)


def test_unlabelled_faces_take_no_part_in_the_pose_error_and_poison_nothing(joint):
    _, _, batch, run, start, *_ = joint
    mixed = {**batch, "pose_deg": batch["pose_deg"].copy()}
    mixed["pose_deg"][1:] = np.nan
    _, got = run(start, mixed, "joint")
    assert np.isfinite(got["g/pose_est"])
    unlabelled = {**batch, "pose_deg": np.full_like(batch["pose_deg"], np.nan)}
    state, none = run(start, unlabelled, "joint")
    assert none["g/pose_est"] == 0
    assert state.skipped == 0
    # Each face labelled alone: their mean is what all four labels give.
    alone = []
    for i in range(4):
        one = {**batch, "pose_deg": np.full_like(batch["pose_deg"], np.nan)}
        one["pose_deg"][i] = batch["pose_deg"][i]
        alone.append(run(start, one, "joint")[1]["g/pose_est"])
    np.testing.assert_allclose(np.mean(alone), run(start, batch, "joint")[1]["g/pose_est"], rtol=1e-4)


def test_labels_spread_unevenly_over_devices_weigh_the_same(joint, on_four):
    _, _, batch, run, start, *_ = joint
    mixed = {**batch, "pose_deg": batch["pose_deg"].copy()}
    mixed["pose_deg"][:3] = np.nan  # all the labels sit on the last of four devices
    one, seen_one = run(start, mixed, "joint")
    four, seen_four = on_four(start, mixed, "joint")
    np.testing.assert_allclose(seen_four["g/pose_est"], seen_one["g/pose_est"], rtol=1e-4)
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


def test_a_saved_state_steps_on_as_the_state_itself(joint, tmp_path):
    """Of every kind of network: the discriminators' spectral norms and statistics, D_r, the running norm."""
    config, _, batch, run, start, after, _ = joint
    manager = checkpoint.open_manager(tmp_path / "run", config)
    checkpoint.save(manager, after, wait=True)
    read = checkpoint.restore(manager, start)
    manager.close()
    jax.tree.map(np.testing.assert_array_equal, run(read, batch, "joint"), run(after, batch, "joint"))


def test_pixel_stage_trains_the_generator_alone_and_lowers_l1(load_config):
    config = load_config("msgan", "debug,optim.lr_pixel=0.003")
    batch = faces(config)
    run = Run(config)
    start = state = run.init(batch)
    first = None
    for _ in range(40):
        state, metrics = run(state, batch, "pixel")
        first = metrics["g/pixel"] if first is None else first
    assert metrics["g/pixel"] < 0.85 * first, "one batch was not over-fitted"
    # "stand-alone generator using L_1": of the last stage alone.
    old, new = start.nets["g"].params, state.nets["g"].params
    for name in ("rgb_32", "rgb_64"):
        jax.tree.map(np.testing.assert_array_equal, new[name], old[name])
    assert np.any(new["rgb_128"]["kernel"] != old["rgb_128"]["kernel"])
    for name in set(state.nets) - {"g"}:
        jax.tree.map(np.testing.assert_array_equal, state.nets[name].params, start.nets[name].params)
    assert np.all(np.isfinite(jax.tree.leaves(state.nets["g"].ema)[0]))


def test_networks_and_discriminators_see_sr_as_it_is_stored(joint):
    """SR is far above 1 everywhere, so all of them see a white face; only L1 sees how far."""
    _, _, batch, run, start, *_ = joint

    def brighter(by):
        lift = lambda path, x: x + by if path[0].key.startswith("rgb") and path[-1].key == "bias" else x
        net = start.nets["g"]
        net = net.replace(params=jax.tree_util.tree_map_with_path(lift, net.params))
        return run(start.replace(nets=start.nets | {"g": net}), batch, "joint")

    (after, some), (_, more) = brighter(np.float32(5.0)), brighter(np.float32(9.0))
    for key, value in some.items():
        if key in ("g/pixel", "g/total", "g/grad_norm", "update/g"):
            continue
        np.testing.assert_allclose(more[key], value, rtol=1e-5, err_msg=key)
    np.testing.assert_allclose(more["g/pixel"] - some["g/pixel"], 4.0 * 1.015, rtol=1e-3)
    assert after.skipped == 0


def test_what_sr_is_clipped_for_has_a_gradient_beyond_the_clip(load_config):
    image = jnp.array([[-0.5, 0.5, 1.5]])[..., None, None]
    pull = lambda arg: jax.grad(lambda x: jnp.sum(common.seen(load_config("msgan", arg), x) ** 2))(image).ravel()
    np.testing.assert_allclose(pull("debug"), [0, 1, 2])  # 2 x of the clipped
    np.testing.assert_allclose(pull("debug,loss.clip_sr=False"), [-1, 1, 3])


def test_the_share_of_norms_beyond_three_deviations():
    norm = msgan.Net(params={}, stats={"mu": jnp.array(10.0), "sigma": jnp.array(2.0), "seen": jnp.array(1.0)})
    features = jnp.zeros((4, 3)).at[:, 0].set(jnp.array([10.0, 15.9, 16.1, 3.9]))
    assert msgan._beyond(norm, features) == 0.5


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("label", [[10, 20, 30], [np.nan, 0, 0], [120, 0, 0]]),
        ("reading", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        ("label_or_reading", [[10, 20, 30], [4, 5, 6], [120, 0, 0]]),
    ],
)
def test_the_target_of_l_est_is_the_label_or_what_the_pose_network_reads_off_hr(load_config, choice, wanted):
    config = load_config("msgan", f"debug,loss.pose_target={choice}")
    label = jnp.array([[10.0, 20, 30], [np.nan, 0, 0], [120, 0, 0]])
    reading = jnp.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    np.testing.assert_array_equal(msgan._pose_target(config, label, reading), np.array(wanted, np.float32))
    pull = jax.grad(lambda x: jnp.nansum(msgan._pose_target(config, label, x)))(reading)
    np.testing.assert_array_equal(pull, 0)


@pytest.mark.parametrize("key", msgan.CHOICES)
def test_another_choice_is_refused(load_config, key):
    config = load_config("msgan", f"debug,{key}=other")
    with pytest.raises(ValueError, match=rf"{key} is 'other'; it can be {' or '.join(msgan.CHOICES[key])}"):
        jax.eval_shape(functools.partial(msgan.init, config), KEY, faces(config))


def test_the_generator_row_is_the_last_stages_l1_with_the_other_rows_steps_and_rates(load_config):
    """Table 4: "stand-alone generator just using L_l1"; then "after adding L_l1 at other stages"."""
    row, others = load_config("msgan", "generator"), load_config("msgan", "joint")
    assert dict(row.stage_weights) == {"r16": 0, "r32": 0, "r64": 0, "r128": 1, "r256": 0}
    assert {name for name, weight in row.weights.items() if weight and name in others.weights} == {
        "pixel", "pose_adv", "pose_est", "pose_angle", "pose_norm", "pose_mse",
    }  # fmt: skip
    assert row.weights.pose == 0  # the factor of the pose terms
    assert msgan.stages(row) == msgan.stages(others)
    assert msgan.needed(row) == ()
    for step in (0, 199_999, 200_000, 300_001, 399_999):
        stage = "pixel" if step < 200_000 else "joint"
        assert msgan._rate(row, jnp.array(step), stage) == msgan._rate(others, jnp.array(step), stage)
    # What the other heads make is not trained, so it is not shown.
    small = load_config("msgan", "debug,generator")
    shapes = jax.eval_shape(functools.partial(msgan.init, small), KEY, faces(small))
    variables = {"params": jax.tree.map(lambda x: jnp.zeros(x.shape), shapes.nets["g"].params)}
    assert list(msgan.predict(small, variables, jnp.full((1, 16, 16, 3), 0.5))["stages"]) == [128]


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
