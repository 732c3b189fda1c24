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
from jfsr.models.msgan import FeatureDiscriminator


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


def test_statistics_are_averaged_with_the_parameters_and_go_with_them():
    net = Net(params={"w": jnp.zeros(2)}, stats={"mean": jnp.zeros(2)}, ema={"w": jnp.zeros(2)})
    net = net.replace(ema_stats={"mean": jnp.zeros(2)})
    for step, value in enumerate((1.0, 2.0, 4.0)):
        net = net.replace(params={"w": jnp.full(2, value)}, stats={"mean": jnp.full(2, 10 * value)})
        net = common.ema(net, 0.5, jnp.int32(step))
    d = [0.1, 2 / 11, 0.25]  # below 0.5, the start of TensorFlow's schedule
    want = 0.0
    for decay, value in zip(d, (1.0, 2.0, 4.0), strict=True):
        want = decay * want + (1 - decay) * value
    averaged, raw = common.variables(net), common.variables(net, average=False)
    np.testing.assert_allclose(averaged["params"]["w"], want, rtol=1e-6)
    np.testing.assert_allclose(averaged["batch_stats"]["mean"], 10 * want, rtol=1e-6)
    assert (raw["params"]["w"][0], raw["batch_stats"]["mean"][0]) == (4, 40)
    assert common.variables(Net(params={"w": 1})) == {"params": {"w": 1}}  # neither average nor statistics


def finish(watched, *, grads=0.5, total=2.0, guard=True):
    """One step on two devices whose new parameter is 2, the old one 1."""
    config = types.SimpleNamespace(train=types.SimpleNamespace(guard=guard))
    state = common.new_state({"g": Net(params=jnp.ones(()))})

    def step(watched, grads, total):
        return common.finish_step(
            config,
            state,
            {"g": Net(params=jnp.full((), 2.0))},
            total=total[0],
            grads=jax.lax.pmean(grads[0], common.AXIS),
            rate=jnp.float32(0.1),
            metrics={"g/term": total[0]},
            watched={"d": jax.lax.pmean(watched[0], common.AXIS)},
        )

    each = [jnp.broadcast_to(jnp.asarray(x, jnp.float32), (2,)) for x in (watched, grads, total)]
    new, metrics = on_devices(2, lambda _, *shards: step(*shards), (), *each)
    return jax.tree.map(lambda x: x[0], new), {k: v[0] for k, v in metrics.items()}


def test_the_end_of_a_step_averages_over_devices_and_counts():
    new, metrics = finish(0.0, total=[1.0, 3.0])
    assert (new.nets["g"].params, new.step, new.skipped, new.bad_run) == (2, 1, 0, 0)
    assert metrics == {
        "g/term": 2,
        "g/total": 2,
        "g/grad_norm": 0.5,
        "rate": np.float32(0.1),
        "skipped": 0,
        "bad_run": 0,
        "grad/d": 0,
        "update/g": 1,
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["watched", "grads", "total"])
def test_what_is_not_finite_on_one_device_throws_the_update_away(bad, where):
    """Also a discriminator's gradient whose loss is finite: it shows in no metric."""
    new, metrics = finish(**{"watched": 0.0} | {where: [0.5, bad]})
    assert (new.nets["g"].params, new.step, new.skipped, new.bad_run) == (1, 1, 1, 1)
    assert (metrics["skipped"], metrics["bad_run"], metrics["update/g"]) == (1, 1, 0)


def test_what_is_said_of_each_network():
    """The length of its update as a share of its own, the largest spectral norm, and nothing of one that rests."""
    config = types.SimpleNamespace(train=types.SimpleNamespace(guard=True))
    net = Net(params={"a": jnp.array([3.0, 0.0]), "b": jnp.array([[4.0]])})
    stats = {"a/kernel/sigma": jnp.array(2.0), "a/kernel/u": jnp.full((1, 4), 9.0), "b/kernel/sigma": jnp.array(7.0)}
    nets = {"g": net, "d": net.replace(stats={"SpectralNorm_0": stats}), "rest": net}
    moved = jax.tree.map(lambda x: x + jnp.array(0.5), net.params)
    new = nets | {"g": net.replace(params=moved), "d": nets["d"].replace(params=moved)}

    def step(grads):
        grads, zero = {"a": grads}, jnp.zeros(())
        return common.finish_step(
            config, common.new_state(nets), new, total=zero, grads=grads, rate=zero, metrics={}, watched={"d": grads}
        )[1]

    seen = {k: float(v[0]) for k, v in on_devices(1, lambda _, grads: step(grads), (), jnp.array([[6.0, 8.0]])).items()}
    moves = {k: v for k, v in seen.items() if k.split("/")[0] in ("grad", "update", "sigma")}
    update = pytest.approx(0.75**0.5 / 5)
    assert moves == {"grad/d": 10, "sigma/d": 7, "update/g": update, "update/d": update}


def test_the_logits_say_which_side_a_discriminator_takes():
    module, tx = FeatureDiscriminator(hidden=(8, 8)), common.adam(types.SimpleNamespace(b1=0.9, b2=0.99))
    net = common.init_net(module, KEY, jnp.zeros((2, 6)), tx=tx)
    real, fake = jax.random.normal(KEY, (2, 8, 6)) + jnp.arange(2.0)[:, None, None]

    def step(real, fake):
        apply = lambda x: module.apply({"params": net.params, "batch_stats": net.stats}, x, mutable=["batch_stats"])[0]
        _, seen, _ = common.update_discriminator("d", module, net, real, fake, kind="bce", tx=tx, rate=jnp.float32(0.1))
        return seen | {"real": jnp.mean(apply(real)), "fake": jnp.mean(apply(fake))}

    seen = {k: float(v[0]) for k, v in on_devices(1, lambda _, *x: step(*x), (), real, fake).items()}
    np.testing.assert_allclose(seen["d_real/d"], seen["real"], rtol=1e-5)
    np.testing.assert_allclose(seen["d_fake/d"], seen["fake"], rtol=1e-5)
    assert seen["real"] != seen["fake"]


def test_without_the_guard_nothing_is_thrown_away():
    new, _ = finish(np.nan, guard=False)
    assert (new.nets["g"].params, new.skipped) == (2, 0)


# What MSGAN's D_r is for: features of restored faces that are shifted or too short (Fig. 6).
GAPS = {"x 0.8": lambda f: 0.8 * f, "x 0.6": lambda f: 0.6 * f, "+ 0.3": lambda f: f + 0.3}


def separate(gap, *, joint, steps=250, size=256, batch=32):
    """D_r's loss and accuracy on new features after some steps, and the generator's gradient along the gap."""
    module, tx = FeatureDiscriminator(hidden=(32, 32)), common.adam(types.SimpleNamespace(b1=0.9, b2=0.99))
    spread = 0.5 + jnp.arange(size)[None] / size
    draw = lambda key: jax.nn.relu(jax.random.normal(key, (batch, size)) + 1.0) * spread
    net = common.init_net(module, KEY, jnp.zeros((2, size)), tx=tx)

    def pair(key):
        real, other = (draw(k) for k in jax.random.split(key))
        return real, gap(other)  # other faces: only the gap tells the two batches apart

    def step(net, key):
        net, seen, _ = common.update_discriminator(
            "d_r", module, net, *pair(key), kind="bce", tx=tx, rate=jnp.float32(3e-3), joint=joint
        )
        return net, seen["d/d_r"]

    def play(net, key):
        net, losses_d = jax.lax.scan(step, net, jax.random.split(key, steps))
        real, fake = pair(jax.random.fold_in(key, 1))
        apply = lambda x: module.apply({"params": net.params, "batch_stats": net.stats}, x, update_stats=False)
        logits = apply(jnp.concatenate([real, fake])) if joint else jnp.concatenate([apply(real), apply(fake)])
        right = jnp.concatenate([logits[:batch] > 0, logits[batch:] < 0])
        push = jax.grad(
            lambda t: common.adversarial_loss(module, net, fake + t * 1.0, kind="bce", real=real if joint else None)
        )(jnp.zeros(()))
        return jnp.mean(losses_d[-50:]), jnp.mean(right), push

    return [float(x[0]) for x in on_devices(1, lambda net, key: play(net, key[0]), net, jax.random.split(KEY, 1))]


@pytest.mark.parametrize("gap", GAPS)
def test_d_r_sees_a_shift_and_a_scale_of_the_features_in_one_call(gap):
    loss, right, push = separate(GAPS[gap], joint=True)
    assert loss < 0.5
    assert right > 0.9
    assert abs(push) > 1e-3  # and the generator is told: a shift of all its features changes the loss


@pytest.mark.parametrize("gap", GAPS)
def test_in_two_calls_d_r_stays_at_chance(gap):
    """Why `joint` exists: BatchNorm over each batch apart removes what the two differ in."""
    loss, right, push = separate(GAPS[gap], joint=False)
    assert loss > 1.3  # 2 ln 2 = 1.386 is chance
    assert 0.3 < right < 0.7
    assert abs(push) < 1e-4


def test_one_call_on_many_devices_is_one_call_on_one():
    module, tx = FeatureDiscriminator(hidden=(8, 8)), common.adam(types.SimpleNamespace(b1=0.9, b2=0.99))
    net = common.init_net(module, KEY, jnp.zeros((2, 6)), tx=tx)
    real, fake = jax.random.normal(KEY, (2, 8, 6)) + jnp.arange(2.0)[:, None, None]

    def step(net, real, fake):
        new, seen, grads = common.update_discriminator(
            "d_r", module, net, real, fake, kind="bce", tx=tx, rate=jnp.float32(0.1), joint=True
        )
        push = jax.grad(lambda x: common.adversarial_loss(module, net, x, kind="bce", real=real))(fake)
        return new.stats, jax.lax.pmean(seen, common.AXIS), grads, push

    one, two = on_devices(1, step, net, real, fake), on_devices(2, step, net, real, fake)
    for a, b in zip(one[:3], two[:3], strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x[0], y[0], atol=1e-5), a, b)
    # Each device has the gradient of its own mean; that over both is half of it.
    np.testing.assert_allclose(one[3].reshape(8, 6), two[3].reshape(8, 6) / 2, atol=1e-5)


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


def test_the_device_takes_the_scaled_degradation_and_the_clean_share(load_config):
    config = load_config("msgan", "debug,data.degrade_on=device,scaled,data.clean_share=1.0")
    assert config.data.degradation == "scaled"
    batch = {k: jnp.asarray(v) for k, v in faces(config).items() if k != "lr"}
    got = jax.jit(functools.partial(common.low_resolution, config, common.new_state({})))(batch, KEY)
    np.testing.assert_allclose(got, degrade.clean_lr(batch["hr"], scale=8), atol=1e-6)
