"""Training a head pose network: the frozen network that MSGAN freezes (Ruiz et al., Hopenet, 2018).

Each angle is classified into 66 bins of 3° and, through the expectation over the bins, regressed:
``loss = cross-entropy + weights.pose_mse * squared error``, summed over yaw, pitch and roll (MSGAN's (4), (5)).
Faces whose pose is unknown or beyond ±99° do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jfsr import config as configs
from jfsr import geometry, losses
from jfsr.data import degrade
from jfsr.frozen import zoo
from jfsr.methods import common
from jfsr.methods.common import AXIS, State

CONFIG = {
    "scale": configs.SCALE,
    "model": {"name": str},
    "weights": {"pose_mse": float, "smooth": float},
    "optim": {"b1": float, "b2": float, "lr": float, "warmup": float, "weight_decay": float, "ema": float},
    "train": {"steps": configs.STEPS, "guard": bool},
}


def stages(config: Any) -> dict[str, int]:
    """One stage."""
    return {"train": config.train.steps}


def needed(config: Any) -> tuple[str, ...]:
    """No frozen network is needed."""
    return ()


def learns_from(config: Any) -> dict[str, str]:
    """Poses."""
    return {"pose_deg": "the method pose"}


def init(config: Any, key: common.Key, batch: Mapping[str, Any]) -> State:
    """Fresh state of the network named by ``config.model.name``."""
    module = zoo.network(config.model.name).module
    image = jnp.zeros((2, *batch["hr"].shape[1:]))
    net = common.init_net(module, key, image, tx=common.adam(config.optim), ema=True)
    return common.new_state({"g": net})


def train_step(
    config: Any, state: State, frozen: dict, batch: dict[str, Array], key: common.Key, *, stage: str
) -> tuple[State, dict[str, Array]]:
    """One step on ``hr`` [b,128,128,3] and ``pose_deg`` [b,3]."""
    network, net = zoo.network(config.model.name), state.nets["g"]
    images, known = _network_input(config, batch["hr"]), geometry.pose_in_range(batch["pose_deg"])

    def objective(params):
        variables = {"params": params, "batch_stats": net.stats}
        out, seen = network.module.apply(variables, images, train=True, mutable=["batch_stats"])
        estimate = network.decode(out.logits)
        ce, mse = losses.pose_estimation(out.logits, batch["pose_deg"], estimate)
        terms = {"cross_entropy": common.masked_mean(ce, known), "pose_mse": common.masked_mean(mse, known)}
        terms["smooth"] = _neighbours(out.logits)
        weights = {"cross_entropy": 1.0, **config.weights}
        error = jnp.mean(jnp.abs(estimate - jnp.where(known[:, None], batch["pose_deg"], 0.0)), axis=-1)
        return common.weigh(terms, weights), (seen["batch_stats"], terms, common.masked_mean(error, known))

    (total, (stats, terms, error)), grads = jax.value_and_grad(objective, has_aux=True)(net.params)
    grads, stats = jax.lax.pmean((grads, stats), AXIS)
    rate = warm_cosine(config.optim, state.step, config.train.steps)
    net = common.apply_updates(net, grads, tx=common.adam(config.optim), rate=rate, stats=stats)
    net = common.decay_weights(net, config.optim.weight_decay * rate)
    net = common.ema(net, config.optim.ema, state.step)
    metrics = {"g/mae_deg": error, **{f"g/{name}": value for name, value in terms.items()}}
    return common.finish_step(config, state, {"g": net}, total=total, grads=grads, rate=rate, metrics=metrics)


def score(config: Any, variables: dict, frozen: dict, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
    """Mean absolute error over the three angles in degrees, per image; NaN where the pose is unknown."""
    network = zoo.network(config.model.name)
    estimate = network.decode(network.apply(variables, _network_input(config, batch["hr"])).logits)
    return {"pose_mae_deg": jnp.mean(jnp.abs(estimate - batch["pose_deg"]), axis=-1)}


def _network_input(config: Any, hr: Array) -> Array:
    """HR faces or, with ``scale`` > 1, faces that went through the low resolution (a baseline of every pose table)."""
    return hr if config.scale == 1 else enlarged(hr, scale=config.scale)


def enlarged(hr: Float[Array, "b h w 3"], *, scale: int) -> Float[Array, "b h w 3"]:
    """Faces in [0, 1] that went through the clean low resolution of a scale and a cubic enlargement."""
    small = degrade.clean_lr(hr, scale=scale)
    return jnp.clip(jax.image.resize(small, hr.shape, "bicubic", antialias=False), 0.0, 1.0)


def _neighbours(logits: Float[Array, "b 3 66"]) -> Array:
    """Mean squared difference of neighbouring bins' logits: few training poses leave bins empty, smoothness fills them.

    DEVIATES: not in Hopenet, whose 122,450 faces fill every bin; weight 0 switches it off.
    """
    return jnp.mean(jnp.diff(logits, axis=-1) ** 2)


def warm_cosine(optim: Any, step: Array, total: int) -> Array:
    """Linear warm-up over ``optim.warmup`` of the run, then a cosine to zero."""
    t = step / max(total, 1)
    rise = jnp.minimum(1.0, (t + 1.0 / max(total, 1)) / max(optim.warmup, 1e-6))
    return optim.lr * rise * 0.5 * (1.0 + jnp.cos(jnp.pi * t))
