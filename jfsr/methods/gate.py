"""The gate of MSGAN's Table 3, which decides whether a face needs super-resolution before its pose is read.

A binary classifier on the features of the frozen pose network (section IV-G "2) Model selection"): class 0 the original
face, class 1 a face reduced to a low resolution and enlarged again. The paper trains it on 300W-LP, "both original and
down-sampled images", and says no more. We decided:

* the classifier is an MLP on standardised features: BatchNorm, the layers ``model.widths`` with ReLU, one logit;
* every face of a batch gives two examples, the original and the down-sampled face, so the classes are equally frequent
  and differ in resolution alone; the scale is drawn from ``scales`` for each face;
* the low resolution is the clean bicubic one, as in the evaluation, enlarged by the cubic that the bicubic row uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float

from jfsr import config as configs
from jfsr.frozen import zoo
from jfsr.methods import common
from jfsr.methods.common import AXIS, State
from jfsr.methods.pose import enlarged, warm_cosine

CONFIG = {
    "scales": configs.Within(tuple[int, ...], 1, 64),
    "model": {"widths": configs.SIZES},
    "frozen": {"pose": str},
    "optim": {"b1": float, "b2": float, "lr": float, "warmup": float, "weight_decay": float, "ema": float},
    "train": {"steps": configs.STEPS, "guard": bool},
}


class Classifier(nn.Module):
    """Features of a pose network -> logit of 'needs super-resolution'.

    Attributes:
      widths: of the hidden layers; no hidden layer is logistic regression.
    """

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "b f"], *, train: bool = False) -> Float[Array, " b"]:
        """Standardises by the batch's moments if ``train``, else by the running ones."""
        # Features of different networks differ by orders of magnitude; the norm's own scale would be one of Dense's.
        x = nn.BatchNorm(
            use_running_average=not train, momentum=0.95, use_scale=False, use_bias=False, axis_name="data"
        )(x)
        for width in self.widths:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(1)(x)[:, 0]


def stages(config: Any) -> dict[str, int]:
    """One stage."""
    return {"train": config.train.steps}


def needed(config: Any) -> tuple[str, ...]:
    """The pose network whose features are classified."""
    return ("pose",)


def init(config: Any, key: common.Key, batch: Mapping[str, Any]) -> State:
    """Fresh classifier on the features of ``config.frozen.pose``.

    Raises:
      ValueError: that network is no pose network, or ``config.scales`` is empty.
    """
    network = zoo.network(config.frozen.pose)
    if network.kind != "pose":
        raise ValueError(f"frozen.pose is {network.name!r}, a network of kind {network.kind!r}; give a pose network")
    if not config.scales:
        raise ValueError("scales is empty; name the scales that the gate must recognise, such as scales=(8,16)")
    features = jnp.zeros((2, network.features))
    net = common.init_net(classifier(config), key, features, tx=common.adam(config.optim), ema=True)
    return common.new_state({"g": net})


def classifier(config: Any) -> Classifier:
    """The classifier that the config describes."""
    return Classifier(widths=tuple(config.model.widths))


def train_step(
    config: Any, state: State, frozen: dict, batch: dict[str, Array], key: common.Key, *, stage: str
) -> tuple[State, dict[str, Array]]:
    """One step on ``hr`` [b,128,128,3] and ``position`` [b]: b originals and b faces of low resolution."""
    net, module, count = state.nets["g"], classifier(config), len(batch["hr"])
    small = low_resolution(
        common.derive(key, state.step, common.PURPOSE_DEGRADE), batch["hr"], batch["position"], scales=config.scales
    )
    # The pose network is frozen: its features are data, computed outside the function that is differentiated.
    features = _features(config, frozen, jnp.concatenate([batch["hr"], small]))
    label = jnp.repeat(jnp.array([0.0, 1.0]), count, total_repeat_length=2 * count)

    def objective(params):
        variables = {"params": params, "batch_stats": net.stats}
        logits, seen = module.apply(variables, features, train=True, mutable=["batch_stats"])
        loss = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, label))
        return loss, (seen["batch_stats"], jnp.mean((logits > 0) == (label > 0)))

    (loss, (stats, right)), grads = jax.value_and_grad(objective, has_aux=True)(net.params)
    grads, stats = jax.lax.pmean((grads, stats), AXIS)
    rate = warm_cosine(config.optim, state.step, config.train.steps)
    net = common.apply_updates(net, grads, tx=common.adam(config.optim), rate=rate, stats=stats)
    net = common.ema(common.decay_weights(net, config.optim.weight_decay * rate), config.optim.ema, state.step)
    metrics = {"g/accuracy": right}
    return common.finish_step(config, state, {"g": net}, total=loss, grads=grads, rate=rate, metrics=metrics)


def decide(config: Any, variables: dict, frozen: dict, images: Float[Array, "b 128 128 3"]) -> Float[Array, " b"]:
    """Probability that a face needs super-resolution.

    Args:
      config: the run's config (static).
      variables: of the classifier.
      frozen: ``pose``, the variables of the pose network.
      images: faces in [0, 1] as for a pose network, those of low resolution enlarged by a cubic.
    """
    return jax.nn.sigmoid(classifier(config).apply(variables, _features(config, frozen, images)))


def score(config: Any, variables: dict, frozen: dict, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
    """Whether the gate is right about each validation face and about its low-resolution versions, 1 or 0.

    Returns:
      ``right_original``, ``right_16``, … (by the side of the low resolution), and ``accuracy``, in which the original
      counts as much as all low resolutions together.
    """
    hr = batch["hr"]
    # One version after the other, so that the pose network's batch is no larger than in training.
    original = (decide(config, variables, frozen, hr) <= 0.5).astype(jnp.float32)
    small = {}
    for scale in config.scales:
        needs = decide(config, variables, frozen, enlarged(hr, scale=scale)) > 0.5
        small[f"right_{hr.shape[1] // scale}"] = needs.astype(jnp.float32)
    return {"right_original": original, **small, "accuracy": (original + sum(small.values()) / len(small)) / 2}


def low_resolution(
    key: common.Key, hr: Float[Array, "b h w 3"], position: Array, *, scales: Sequence[int]
) -> Float[Array, "b h w 3"]:
    """Faces reduced and enlarged again, each by a scale that is drawn from its position.

    Args:
      key: of this step.
      hr: faces in [0, 1].
      position: [b] of the examples, so that a face's scale does not depend on the device that it is on.
      scales: HR over LR sizes to draw from, equally likely.
    """
    which = jax.vmap(lambda p: jax.random.randint(jax.random.fold_in(key, p), (), 0, len(scales)))(position)
    return jnp.choose(which[:, None, None, None], [enlarged(hr, scale=s) for s in scales], mode="clip")


def _features(config: Any, frozen: dict, images: Array) -> Array:
    return zoo.network(config.frozen.pose).apply(frozen["pose"], images).features.astype(jnp.float32)
