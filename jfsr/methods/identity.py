"""Training an identity network: the frozen network whose embedding MSGAN's identity loss (14) compares.

The training people are classified with an additive cosine margin (CosFace, Wang et al., 2018, eq. 4). The classifier is
thrown away and the embedding is kept, so it also serves for people who were not in training. A published network is
fine-tuned on the training faces, as MSGAN does with FaceNet (sec. IV-D), by ``warm_start.g`` and ``optim.head_rate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jfsr import config as configs
from jfsr.data import mixture, people, pipeline
from jfsr.frozen import zoo
from jfsr.methods import common
from jfsr.methods.common import AXIS, Net, State
from jfsr.methods.pose import warm_cosine

CONFIG = {
    "model": {"name": str, "people": configs.Within(tuple[int, ...], 0, 10**7)},
    "warm_start": {"g": str},
    "loss": {"margin": float, "sharpness": float},
    "optim": {"b1": float, "b2": float, "lr": float, "warmup": float, "weight_decay": float, "ema": float,
              "head_rate": float},
    "train": {"steps": configs.STEPS, "guard": bool},
}  # fmt: skip

# Any network of the zoo, if it is the one that the config names.
WARM_STARTS: dict[str, dict[str, dict[str, str]]] = {"g": {"*": {}}}


def stages(config: Any) -> dict[str, int]:
    """One stage."""
    return {"train": config.train.steps}


def needed(config: Any) -> tuple[str, ...]:
    """No frozen network is needed."""
    return ()


def learns_from(config: Any) -> dict[str, str]:
    """Who is who."""
    return {"identity": "the method identity"}


def warm_starts(config: Any) -> dict[str, str]:
    """The network's initial parameters, if the config names some: see :mod:`jfsr.training.warm_start`."""
    return {"g": config.warm_start.g} if config.warm_start.g else {}


def counted(config: Any) -> Any:
    """The config with ``model.people``: how many people each source shows, in the order of the sources' names.

    Raises:
      ValueError: no source has two people.
    """
    if config.model.people:
        return config
    sources = config.data.sources
    found = [people.count(pipeline.open_pictures(s.dataset, s.dir, s.split)) for s in sources.values()]
    if max(found, default=0) < 2:
        raise ValueError(f"data.sources ({', '.join(sources)}) have no identities to learn; add them to labels.csv")
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.people = tuple(found)
    return config


def init(config: Any, key: common.Key, batch: Mapping[str, Any]) -> State:
    """Fresh embedding network and one centre per training person (``config.model.people``, all sources together).

    Raises:
      ValueError: the config does not say how many people there are; :func:`counted` does.
    """
    if not config.model.people:
        raise ValueError("model.people is empty: count them first (jfsr.methods.identity.counted)")
    network, tx = zoo.network(config.model.name), common.adam(config.optim)
    image = jnp.zeros((2, *batch["hr"].shape[1:]))
    key_net, key_head = jax.random.split(key)
    net = common.init_net(network.module, key_net, image, tx=tx, ema=True)
    centres = jax.random.normal(key_head, (sum(config.model.people), network.features)) / jnp.sqrt(network.features)
    head = Net(params={"centres": centres}, opt=tx.init({"centres": centres}))
    return common.new_state({"g": net, "head": head})


def train_step(
    config: Any, state: State, frozen: dict, batch: dict[str, Array], key: common.Key, *, stage: str
) -> tuple[State, dict[str, Array]]:
    """One step on ``hr`` [b,128,128,3] and ``identity`` [b]; faces of unknown people (-1) do not count."""
    network, net, head = zoo.network(config.model.name), state.nets["g"], state.nets["head"]
    who = class_of(batch["identity"], config.model.people)
    known, target = who >= 0, jax.nn.one_hot(who, sum(config.model.people))

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
    head = common.apply_updates(head, grads["head"], tx=tx, rate=rate * config.optim.head_rate)
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


def class_of(identity: Int[Array, " b"], count: tuple[int, ...]) -> Int[Array, " b"]:
    """The class of each person in [0, sum(count)): those of the first source first; -1 for anybody else.

    Args:
      identity: numbers of the pipeline: source · ``mixture.IDENTITIES`` + number within the source; -1 = unknown.
      count: people in each source.
    """
    sizes = jnp.array(count, jnp.int32)
    source, number = identity // mixture.IDENTITIES, identity % mixture.IDENTITIES
    inside = jnp.clip(source, 0, len(count) - 1)
    known = (identity >= 0) & (source < len(count)) & (number < sizes[inside])
    return jnp.where(known, (jnp.cumsum(sizes) - sizes)[inside] + number, -1)


def unit(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Rows scaled to length 1."""
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-8)
