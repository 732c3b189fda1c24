"""What every method shares: the state, one way to update a network, one way to sum losses, one way to derive keys.

A method module (``msgan.py``, ``pose.py``, …) offers

* ``FROZEN``: the kinds of frozen networks that its step takes, keys of ``config.frozen``;
* ``CONFIG``: the config keys it reads, with their types (checked by :func:`jfsr.config.validate`);
* ``stages(config) -> dict[str, int]``: the training stages in order, with their number of steps;
* ``init(config, key, batch) -> State``;
* ``train_step(config, state, frozen, batch, key, *, stage) -> (State, metrics)``: pure, written for one device, its
  means across devices on the axis ``'data'``;
* ``score(config, variables, frozen, batch) -> dict``: one number per validation image;
* ``predict(config, variables, lr) -> dict`` for the super-resolution methods.
* optionally ``STARTS`` and ``starts(config)``: what a fresh run can start from, see :mod:`jfsr.training.warm_start`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

AXIS = "data"

# What a derived key is for; a number never changes its meaning, or old runs could not be reproduced.
PURPOSE_INIT, PURPOSE_DEGRADE = 0, 1

Key = UInt32[Array, "2"] | PRNGKeyArray
Tree = Any


@struct.dataclass
class Net:
    """One network's arrays: parameters, non-trained state, optimizer state, moving average of the parameters."""

    params: Tree
    stats: Tree = struct.field(default_factory=dict)
    opt: Tree = ()
    ema: Tree = struct.field(default_factory=dict)


@struct.dataclass
class State:
    """Everything that a checkpoint holds: arrays only; modules and optimizers are rebuilt from the config.

    ``step`` counts finished steps, and so is the data position. ``skipped`` counts the updates thrown away because a
    loss or gradient was not finite, ``bad_run`` those in a row.
    """

    step: Any
    nets: dict[str, Net]
    skipped: Any
    bad_run: Any


def new_state(nets: dict[str, Net]) -> State:
    """State at step 0."""
    zero = jnp.zeros((), jnp.int32)
    # Three separate arrays: a donated buffer may stand in a state only once.
    return State(step=zero, nets=nets, skipped=zero.copy(), bad_run=zero.copy())


def init_net(
    module: nn.Module, key: Key, *inputs: Array, tx: optax.GradientTransformation | None = None, ema: bool = False
) -> Net:
    """Initialises a network and, with ``tx``, its optimizer; with ``ema`` its average starts at the parameters."""
    variables = dict(jax.jit(module.init)(key, *inputs))
    params = variables.pop("params")
    stats = variables.pop("batch_stats", {})
    return Net(
        params=params,
        stats=stats,
        opt=tx.init(params) if tx is not None else (),
        ema=jax.tree.map(jnp.copy, params) if ema else {},
    )


def adam(optim: Any) -> optax.GradientTransformation:
    """Adam's direction without a rate: the rate belongs to the step, not to the optimizer's own count.

    So a network that joins late (the discriminators in stage two) and one that trains from the start share a schedule.
    """
    return optax.scale_by_adam(b1=optim.b1, b2=optim.b2)


def apply_updates(
    net: Net, grads: Tree, *, tx: optax.GradientTransformation, rate: Float[Array, ""], stats: Tree | None = None
) -> Net:
    """One optimizer step: ``params - rate * direction(grads)``; ``stats`` replaces the non-trained state."""
    direction, opt = tx.update(grads, net.opt, net.params)
    params = jax.tree.map(lambda p, d: p - rate * d.astype(p.dtype), net.params, direction)
    return net.replace(params=params, opt=opt, stats=net.stats if stats is None else stats)


def decay_weights(net: Net, amount: Float[Array, ""]) -> Net:
    """Decoupled weight decay (AdamW) on kernels; biases and normalisation scales are left alone."""
    shrink = lambda p: p * (1.0 - amount) if p.ndim > 1 else p
    return net.replace(params=jax.tree.map(shrink, net.params))


def ema(net: Net, decay: float, step: Int[Array, ""]) -> Net:
    """Moving average of the parameters; the decay starts low (as in TensorFlow's EMA), so short runs are not averaged
    with their initial noise.
    """
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return net.replace(ema=jax.tree.map(lambda e, p: d * e + (1.0 - d) * p, net.ema, net.params))


def rate_with_drops(
    step: Int[Array, ""], *, base: float, total: int, drops: tuple[float, ...], factor: float
) -> Float[Array, ""]:
    """Learning rate ``base * factor**k``, k = how many of the fractions ``drops`` of ``total`` steps are past."""
    edges = jnp.array([f * total for f in drops], jnp.float32)
    return base * factor ** jnp.sum(step >= edges).astype(jnp.float32)


def weigh(terms: Mapping[str, Array], weights: Any) -> Float[Array, ""]:
    """Weighed sum of the named terms: the one place where losses are added. Every term needs a weight."""
    missing = sorted(set(terms) - set(weights))
    if missing:
        raise KeyError(f"loss terms without a weight: {', '.join(missing)}")
    return sum((weights[name] * value for name, value in terms.items()), start=jnp.zeros((), jnp.float32))


def masked_mean(values: Float[Array, " b"], mask: Bool[Array, " b"]) -> Float[Array, ""]:
    """Mean over the masked images of the *global* batch; 0 where there is none.

    The denominator is averaged across devices, so that devices with few labelled faces do not weigh them more: the
    mean over devices of this value is the mean over all labelled faces, and likewise for its gradient.
    """
    count = jax.lax.pmean(jnp.sum(mask).astype(jnp.float32), AXIS)
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(count, 1e-6)


def keep_finite(old: State, new: State, *watched: Tree, guard: bool = True) -> State:
    """The new state if everything in ``watched`` (already averaged across devices) is finite, else the old one.

    Either way the step advances, since it is the data position; a rejected update is counted.
    """
    ok, nets = jnp.array(True), new.nets
    if guard:
        for leaf in jax.tree.leaves(watched):
            ok &= jnp.all(jnp.isfinite(leaf))
        keep = functools.partial(jnp.where, ok)
        nets = jax.tree.map(keep, nets, old.nets)
    bad = 1 - ok.astype(jnp.int32)
    return State(step=old.step + 1, nets=nets, skipped=old.skipped + bad, bad_run=(old.bad_run + 1) * bad)


def derive(root: Key, step: Int[Array, ""] | int, purpose: int) -> Key:
    """Key for one purpose of one step. Keys are derived, never carried, so a resumed run draws what it would have."""
    return jax.random.fold_in(jax.random.fold_in(root, step), purpose)


def compute_dtype(name: str) -> Any:
    """'float32' or 'bfloat16' as a dtype; parameters and losses are float32 under both."""
    kinds: dict[str, Callable] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
    if name not in kinds:
        raise ValueError(f"model.dtype is {name!r}; it can be float32 or bfloat16")
    return kinds[name]
