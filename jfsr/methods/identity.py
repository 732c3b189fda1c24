"""Training an identity network: the frozen network whose embedding MSGAN's identity loss (14) compares.

The training people are classified with an additive cosine margin (CosFace, Wang et al., 2018, eq. 4). The classifier is
thrown away and the embedding is kept, so it also serves for people who were not in training.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jfsr.frozen import zoo
from jfsr.methods import common
from jfsr.methods.common import AXIS, Net, State
from jfsr.methods.pose import warm_cosine

CONFIG = {
    "model": {"name": str, "classes": int},
    "loss": {"margin": float, "sharpness": float},
    "optim": {"b1": float, "b2": float, "lr": float, "warmup": float, "weight_decay": float, "ema": float},
    "train": {"steps": int, "guard": bool},
}


def stages(config: Any) -> dict[str, int]:
    """One stage."""
    return {"train": config.train.steps}


def needed(config: Any) -> tuple[str, ...]:
    """No frozen network is needed."""
    return ()


def init(config: Any, key: common.Key, batch: dict[str, Array]) -> State:
    """Fresh embedding network and one centre per training person (``config.model.classes`` of them)."""
    network, tx = zoo.network(config.model.name), common.adam(config.optim)
    image = jnp.zeros((2, *batch["hr"].shape[1:]))
    key_net, key_head = jax.random.split(key)
    net = common.init_net(network.module, key_net, image, tx=tx, ema=True)
    centres = jax.random.normal(key_head, (config.model.classes, network.features)) / jnp.sqrt(network.features)
    head = Net(params={"centres": centres}, opt=tx.init({"centres": centres}))
    return common.new_state({"g": net, "head": head})


def train_step(
    config: Any, state: State, frozen: dict, batch: dict[str, Array], key: common.Key, *, stage: str
) -> tuple[State, dict[str, Array]]:
    """One step on ``hr`` [b,128,128,3] and ``identity`` [b] in [0, classes); -1 (unknown) does not count."""
    network, net, head = zoo.network(config.model.name), state.nets["g"], state.nets["head"]
    who = batch["identity"]
    known = (who >= 0) & (who < config.model.classes)
    target = jax.nn.one_hot(who, config.model.classes)

    def objective(params):
        variables = {"params": params["g"], "batch_stats": net.stats}
        emb, seen = network.module.apply(variables, batch["hr"], train=True, mutable=["batch_stats"])
        cos = unit(emb) @ unit(params["head"]["centres"]).T
        logits = config.loss.sharpness * (cos - config.loss.margin * target)
        loss = common.masked_mean(-jnp.sum(target * jax.nn.log_softmax(logits), axis=-1), known)
        right = common.masked_mean((jnp.argmax(cos, axis=-1) == who).astype(jnp.float32), known)
        return loss, (seen["batch_stats"], right)

    params = {"g": net.params, "head": head.params}
    (loss, (stats, right)), grads = jax.value_and_grad(objective, has_aux=True)(params)
    grads, stats = jax.lax.pmean((grads, stats), AXIS)
    tx, rate = common.adam(config.optim), warm_cosine(config.optim, state.step, config.train.steps)
    net = common.apply_updates(net, grads["g"], tx=tx, rate=rate, stats=stats)
    net = common.ema(common.decay_weights(net, config.optim.weight_decay * rate), config.optim.ema, state.step)
    head = common.apply_updates(head, grads["head"], tx=tx, rate=rate)
    nets, metrics = {"g": net, "head": head}, {"g/accuracy": right}
    return common.finish_step(config, state, nets, total=loss, grads=grads, rate=rate, metrics=metrics)


def score(config: Any, variables: dict, frozen: dict, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
    """Whether the nearest neighbour of each validation face shows the same person.

    Returns:
      ``nearest_is_same``: 1 where the nearest other face of the batch (cosine) shows the same person, else 0; NaN
      where the batch has no other face of that person.
    """
    emb = unit(zoo.network(config.model.name).apply(variables, batch["hr"]))
    cos = emb @ emb.T - 2.0 * jnp.eye(len(emb))
    same = (batch["identity"][:, None] == batch["identity"][None]) & ~jnp.eye(len(emb), dtype=bool)
    hit = same[jnp.arange(len(emb)), jnp.argmax(cos, axis=-1)].astype(jnp.float32)
    return {"nearest_is_same": jnp.where(jnp.any(same, axis=-1), hit, jnp.nan)}


def unit(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows scaled to length 1."""
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-8)
