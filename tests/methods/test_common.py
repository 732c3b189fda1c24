"""What the methods share: rates, sums of losses, keys, the guard, the input degraded on the device."""

from __future__ import annotations

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.networks import on_devices
from support.steps import KEY, faces

from jfsr.data import degrade
from jfsr.methods import common
from jfsr.methods.common import Net


def test_rate_falls_at_the_fractions():
    rate = functools.partial(common.rate_with_drops, base=1.0, total=100, drops=(0.5, 0.75, 0.9), factor=0.5)
    got = [float(rate(jnp.array(s))) for s in (0, 49, 50, 74, 75, 90, 99)]
    assert got == [1.0, 1.0, 0.5, 0.5, 0.25, 0.125, 0.125]


def test_a_term_without_a_weight_is_refused():
    with pytest.raises(KeyError, match="perceptual"):
        common.weigh({"pixel": jnp.ones(()), "perceptual": jnp.ones(())}, {"pixel": 1.0})


def test_keys_differ_by_step_and_purpose_and_not_by_history():
    draw = lambda s, p: np.asarray(jax.random.uniform(common.derive(KEY, s, p), (3,)))
    assert not np.array_equal(draw(1, 0), draw(1, 1))
    assert not np.array_equal(draw(1, 0), draw(2, 0))
    np.testing.assert_array_equal(draw(7, 1), draw(7, 1))


def finish(watched, *, grads=0.5, total=2.0, guard=True):
    """One step on two devices whose new parameter is 1, the old one 0."""
    config = types.SimpleNamespace(train=types.SimpleNamespace(guard=guard))
    state = common.new_state({"g": Net(params=jnp.zeros(()))})

    def step(watched, grads, total):
        return common.finish_step(
            config,
            state,
            {"g": Net(params=jnp.ones(()))},
            total=total[0],
            grads=jax.lax.pmean(grads[0], common.AXIS),
            rate=jnp.float32(0.1),
            metrics={"g/term": total[0]},
            watched=jax.lax.pmean(watched[0], common.AXIS),
        )

    each = [jnp.broadcast_to(jnp.asarray(x, jnp.float32), (2,)) for x in (watched, grads, total)]
    new, metrics = on_devices(2, lambda _, *shards: step(*shards), (), *each)
    return jax.tree.map(lambda x: x[0], new), {k: v[0] for k, v in metrics.items()}


def test_the_end_of_a_step_averages_over_devices_and_counts():
    new, metrics = finish(0.0, total=[1.0, 3.0])
    assert (new.nets["g"].params, new.step, new.skipped, new.bad_run) == (1, 1, 0, 0)
    assert metrics == {
        "g/term": 2,
        "g/total": 2,
        "g/grad_norm": 0.5,
        "rate": np.float32(0.1),
        "skipped": 0,
        "bad_run": 0,
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["watched", "grads", "total"])
def test_what_is_not_finite_on_one_device_throws_the_update_away(bad, where):
    """Also a discriminator's gradient whose loss is finite: it shows in no metric."""
    new, metrics = finish(**{"watched": 0.0} | {where: [0.5, bad]})
    assert (new.nets["g"].params, new.step, new.skipped, new.bad_run) == (0, 1, 1, 1)
    assert (metrics["skipped"], metrics["bad_run"]) == (1, 1)


def test_without_the_guard_nothing_is_thrown_away():
    new, _ = finish(np.nan, guard=False)
    assert (new.nets["g"].params, new.skipped) == (1, 0)


@pytest.mark.parametrize("method", ["msgan", "iafsr", "jasrnet"])
def test_the_device_degrades_as_the_config_says(load_config, method):
    """``data.degradation`` means the same on the device as in tf.data."""
    config = load_config(method, "debug,data.degrade_on=device,data.degradation=bicubic")
    batch = {k: jnp.asarray(v) for k, v in faces(config).items()}
    given = batch.pop("lr")
    state = common.new_state({})
    got = common.low_resolution(config, state, batch, KEY)
    np.testing.assert_array_equal(got, degrade.clean_lr(batch["hr"], scale=8))
    np.testing.assert_array_equal(common.low_resolution(config, state, {**batch, "lr": given}, KEY), given)
    paper = load_config(method, "debug,data.degrade_on=device,data.degradation=paper")
    key = common.derive(KEY, 0, common.PURPOSE_DEGRADE)
    shapes = jax.eval_shape(functools.partial(common.low_resolution, paper, state), batch, KEY)
    want = jax.eval_shape(functools.partial(degrade.degrade, scale=8), key, batch["hr"], batch["position"])
    assert shapes.shape == want.shape == given.shape
