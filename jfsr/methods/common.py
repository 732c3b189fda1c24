"""What the methods share: the state, updating a network, one discriminator step, summing losses, deriving keys.

What a method module offers is said in :class:`jfsr.methods.Method`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from jfsr import losses
from jfsr.data import degrade

AXIS = "data"

# What a derived key is for. A number never changes its meaning: otherwise old runs could not be reproduced.
PURPOSE_INIT, PURPOSE_DEGRADE = 0, 1

Key = UInt32[Array, "2"] | PRNGKeyArray
Tree = Any


@struct.dataclass
class Net:
    """One network's arrays: parameters, non-trained state, optimizer state, and the moving averages of the first two.

    Averaged parameters go with averaged statistics: BatchNorm's running mean and variance describe the activations of
    the parameters that made them.
    """

    params: Tree
    stats: Tree = struct.field(default_factory=dict)
    opt: Tree = ()
    ema: Tree = struct.field(default_factory=dict)
    ema_stats: Tree = struct.field(default_factory=dict)


@struct.dataclass
class State:
    """Everything that a checkpoint holds: arrays only; modules and optimizers are rebuilt from the config.

    ``step`` counts finished steps, so it is also the data position. ``skipped`` counts the updates that were
    thrown away because a loss or gradient was not finite; ``bad_run`` counts the latest of them in a row.
    """

    step: Any
    nets: dict[str, Net]
    skipped: Any
    bad_run: Any


def new_state(nets: dict[str, Net]) -> State:
    """State at step 0."""
    zero = jnp.zeros((), jnp.int32)
    # Separate arrays: a donated buffer may stand in a state only once.
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
        ema_stats=jax.tree.map(jnp.copy, stats) if ema else {},
    )


def variables(net: Net, *, average: bool = True) -> dict[str, Tree]:
    """What a module is applied to: averaged parameters with averaged statistics, or the raw ones of the last step.

    A network without running statistics has no ``batch_stats``. Of a network without averages the raw ones are given.
    """
    params = net.ema if average and net.ema else net.params
    stats = net.ema_stats if average and net.ema_stats else net.stats
    return {"params": params, **({"batch_stats": stats} if stats else {})}


def adam(optim: Any) -> optax.GradientTransformation:
    """Adam's direction without a learning rate: the rate follows the step, not the optimizer's own count.

    So a network that joins late (a discriminator in stage two) has the schedule of one that trains from the start.
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
    """Moving average of the parameters and, with the same decay, of the running statistics.

    The decay starts low, as in TensorFlow's EMA, so that a short run is not averaged with its initial parameters.
    """
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    average = lambda old, new: jax.tree.map(lambda e, x: d * e + (1.0 - d) * x, old, new)
    return net.replace(ema=average(net.ema, net.params), ema_stats=average(net.ema_stats, net.stats))


def rate_with_drops(
    step: Int[Array, ""], *, base: float, total: int, drops: tuple[float, ...], factor: float
) -> Float[Array, ""]:
    """Learning rate ``base * factor**k``; k is how many of ``drops``, fractions of ``total`` steps, are past."""
    edges = jnp.array([f * total for f in drops], jnp.float32)
    return base * factor ** jnp.sum(step >= edges).astype(jnp.float32)


def weigh(terms: Mapping[str, Array], weights: Any) -> Float[Array, ""]:
    """Weighted sum of the named terms: the one place where losses are added. KeyError for a term without a weight."""
    missing = sorted(set(terms) - set(weights))
    if missing:
        raise KeyError(f"loss terms without a weight: {', '.join(missing)}")
    return sum((weights[name] * value for name, value in terms.items()), start=jnp.zeros((), jnp.float32))


def masked_mean(values: Float[Array, " b"], mask: Bool[Array, " b"]) -> Float[Array, ""]:
    """Mean over the masked images of the *global* batch; 0 where there is none.

    The count in the denominator is averaged over devices, so that a device with few labelled faces gives them no more
    weight: the mean of this value over devices is the mean over all labelled faces, and so is its gradient.
    """
    count = jax.lax.pmean(jnp.sum(mask).astype(jnp.float32), AXIS)
    return jnp.sum(jnp.where(mask, values, 0.0)) / jnp.maximum(count, 1e-6)


def keep_finite(old: State, new: State, *watched: Tree, guard: bool = True) -> State:
    """The new state if everything in ``watched`` (already averaged over devices) is finite, else the old one.

    Either way the step advances, since it is the data position; a rejected update is counted.
    """
    ok, nets = jnp.array(True), new.nets
    if guard:
        for leaf in jax.tree.leaves(watched):
            ok &= jnp.all(jnp.isfinite(leaf))
        # Not a selection of every array: XLA repeats the chain above in each, and compiles its square.
        nets = jax.lax.cond(ok, lambda: new.nets, lambda: old.nets)
    bad = 1 - ok.astype(jnp.int32)
    return State(step=old.step + 1, nets=nets, skipped=old.skipped + bad, bad_run=(old.bad_run + 1) * bad)


def finish_step(
    config: Any,
    state: State,
    nets: dict[str, Net],
    *,
    total: Float[Array, ""],
    grads: Tree,
    rate: Float[Array, ""],
    metrics: dict[str, Array],
    watched: Mapping[str, Tree] | None = None,
) -> tuple[State, dict[str, Array]]:
    """The end of every step: averages the metrics over devices and keeps the update if all is finite.

    It also measures what divergence shows in first, for each network by its name: ``grad/NET``, the length of a
    discriminator's gradient (the generator's is ``g/grad_norm``); ``update/NET``, how far the step moved the parameters
    as a share of their length; ``sigma/NET``, the largest spectral norm of a layer before it is divided away.

    Args:
      config: the run's config; reads ``train.guard``.
      state: the state before the step.
      nets: the updated networks.
      total: this device's total loss of the generator (of the network that is trained).
      grads: its gradient, averaged over devices.
      rate: its learning rate.
      metrics: what else is logged, of this device.
      watched: the gradients of the other networks, by name, averaged over devices.

    Returns:
      The new state, and the metrics with the keys :data:`jfsr.methods.METRICS`.
    """
    watched = watched or {}
    averages = jax.lax.pmean({**metrics, "g/total": total, "g/grad_norm": length(grads)}, AXIS)
    averages |= {f"grad/{name}": length(tree) for name, tree in watched.items()}
    new = keep_finite(state, state.replace(nets=nets), averages, guard=config.train.guard)
    # The same on all devices.
    seen = {"rate": rate, "skipped": new.skipped, "bad_run": new.bad_run}
    for name, net in new.nets.items():
        if nets[name] is state.nets[name]:
            continue  # this stage does not train it
        if jax.tree.leaves(net.params):
            old = state.nets[name].params
            step = jax.tree.map(jnp.subtract, net.params, old)
            seen[f"update/{name}"] = length(step) / jnp.maximum(length(old), 1e-12)
        stats = jax.tree_util.tree_leaves_with_path(net.stats)
        if sigmas := [x for path, x in stats if path[-1].key.endswith("/sigma")]:
            seen[f"sigma/{name}"] = jnp.max(jnp.stack(sigmas))
    return new, averages | seen


def length(tree: Tree) -> Float[Array, ""]:
    """Euclidean length of all the tree's arrays as one vector; NaN or infinite if one element is."""
    # One vector, since hundreds of small sums are slow to compile.
    leaves = [jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(tree)]
    return jnp.sqrt(jnp.sum(jnp.square(jnp.concatenate(leaves)))) if leaves else jnp.zeros(())


def update_discriminator(
    name: str,
    module: nn.Module,
    net: Net,
    real: Float[Array, "b ..."],
    fake: Float[Array, "b ..."],
    *,
    kind: str,
    tx: optax.GradientTransformation,
    rate: Float[Array, ""],
    joint: bool = False,
) -> tuple[Net, dict[str, Float[Array, ""]], Tree]:
    """One update of a discriminator on real and generated inputs, with :func:`jfsr.losses.adversarial_d`.

    Args:
      name: of the network in the state, for the metrics.
      module: the discriminator; its :class:`Net` is ``net``.
      net: its parameters, statistics and optimizer.
      real: originals, or their features.
      fake: restored images, or their features; no gradient flows into them.
      kind: of the adversarial loss.
      tx: the direction of its optimizer.
      rate: learning rate.
      joint: False: real and fake go through in separate calls, and BatchNorm normalises each by its own statistics.
        True: in one call, by the statistics of both. Only so does a network whose first layer is linear and followed
        by BatchNorm see that all fakes are shifted or scaled: by its own statistics a batch has mean 0 and deviation 1.

    Returns:
      The new network; this device's loss ``d/NAME`` and mean logits ``d_real/NAME`` and ``d_fake/NAME``; the gradient,
      averaged over devices, for :func:`finish_step` to watch.
    """
    fake = jax.lax.stop_gradient(fake)

    def objective(params):
        variables = {"params": params, "batch_stats": net.stats}
        if joint:
            both, seen = module.apply(variables, jnp.concatenate([real, fake]), mutable=["batch_stats"])
            on_real, on_fake = both[: len(real)], both[len(real) :]
        else:
            on_real, seen = module.apply(variables, real, mutable=["batch_stats"])
            on_fake, seen = module.apply({"params": params, **seen}, fake, mutable=["batch_stats"])
        logits = {"real": jnp.mean(on_real), "fake": jnp.mean(on_fake)}
        return jnp.mean(losses.adversarial_d(on_real, on_fake, kind=kind)), (seen["batch_stats"], logits)

    (loss, (stats, logits)), grads = jax.value_and_grad(objective, has_aux=True)(net.params)
    grads, stats = jax.lax.pmean((grads, stats), AXIS)
    metrics = {f"d/{name}": loss, f"d_real/{name}": logits["real"], f"d_fake/{name}": logits["fake"]}
    return apply_updates(net, grads, tx=tx, rate=rate, stats=stats), metrics, grads


def adversarial_loss(
    module: nn.Module,
    net: Net,
    fake: Float[Array, "b ..."],
    *,
    kind: str,
    real: Float[Array, "b ..."] | None = None,
) -> Float[Array, ""]:
    """The generator's adversarial loss against one discriminator, whose state stays as it is.

    Args:
      module: the discriminator; its :class:`Net` is ``net``.
      net: its parameters and statistics.
      fake: restored images, or their features.
      kind: as in :func:`update_discriminator`.
      real: where the discriminator is trained with ``joint``, what it saw as real: it goes through in the same call, so
        that BatchNorm normalises the fakes here as it does there. None: the fakes alone.
    """
    inputs = fake if real is None else jnp.concatenate([jax.lax.stop_gradient(real), fake])
    logits = module.apply({"params": net.params, "batch_stats": net.stats}, inputs, update_stats=False)
    return jnp.mean(losses.adversarial_g(logits[-len(fake) :], kind=kind))


def low_resolution(config: Any, state: State, batch: dict[str, Array], key: Key) -> Float[Array, "b h w 3"]:
    """The network's input: the batch's ``lr``, or made here from ``hr`` where the pipeline left that to the device.

    A batch with ``similarity`` is misaligned by it first; then ``data.degradation`` is applied.
    """
    if "lr" in batch:
        return batch["lr"]
    hr = degrade.misalign(batch["hr"], batch["similarity"]) if "similarity" in batch else batch["hr"]
    if config.data.degradation == "bicubic":
        return degrade.clean_lr(hr, scale=config.scale)
    return degrade.degrade(
        derive(key, state.step, PURPOSE_DEGRADE),
        hr,
        batch["position"],
        scale=config.scale,
        scaled=config.data.degradation == "scaled",
        clean_share=config.data.clean_share,
    )


def blank_lr(config: Any, batch: Mapping[str, Any]) -> Float[Array, "1 h w 3"]:
    """One black face of low resolution, to initialise a generator with."""
    _, height, width, _ = batch["hr"].shape
    return jnp.zeros((1, height // config.scale, width // config.scale, 3))


def seen(config: Any, image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """SR as frozen networks and discriminators see it: as it is stored and scored, or as the generator left it.

    ``config.loss.clip_sr`` says which, see :func:`jfsr.losses.as_stored`. The pixel loss sees the generator's.
    """
    return losses.as_stored(image) if config.loss.clip_sr else image


def psnr(sr: Float[Array, "b h w 3"], hr: Float[Array, "b h w 3"]) -> Float[Array, " b"]:
    """PSNR in dB of each validation image in [0, 1]; the tables score 8-bit images, see :mod:`jfsr.metrics`."""
    return -10.0 * jnp.log10(jnp.mean((sr - hr) ** 2, axis=(1, 2, 3)) + 1e-10)


def derive(root: Key, step: Int[Array, ""] | int, purpose: int) -> Key:
    """Key for one purpose of one step. Keys are derived, never carried: a resumed run draws the same numbers."""
    return jax.random.fold_in(jax.random.fold_in(root, step), purpose)


def compute_dtype(name: str) -> Any:
    """'float32' or 'bfloat16' as a dtype; parameters and losses are float32 under both."""
    kinds: dict[str, Callable] = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
    if name not in kinds:
        raise ValueError(f"model.dtype is {name!r}; it can be float32 or bfloat16")
    return kinds[name]
