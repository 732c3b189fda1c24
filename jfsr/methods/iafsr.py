"""IAFSR: identity-aware face super-resolution for low-resolution face recognition (Chen et al., 2020).

A generator super-resolves a 16×16 face to 128×128, so that a *frozen* identity network F recognises the person: the
angle and the length of F's feature are held to those of the original. Stage one (``pixel``) trains with the pixel loss
alone, stage two (``joint``) with all. Equation numbers are the paper's; the terms, by their names in
``config.weights``, whose weighted sum is (4)::

    pixel      (3)   squared error            cosine     (1)   angle of the features
    euclid     SR+Ou's feature distance       magnitude  (2)   length of the features
    adv        SRGAN's adversarial loss

A term with weight 0 is not computed: the rows of Table I are weights, set in ``configs/iafsr.py``. F is any identity
network by name (``config.frozen.identity``); (2) says nothing where its embeddings are normalised, as FaceNet's are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jfsr import config as configs
from jfsr import losses
from jfsr.frozen import zoo
from jfsr.methods import Prediction, common
from jfsr.methods.common import AXIS, State
from jfsr.models.iafsr import Discriminator, SRResNet

CONFIG = {
    "scale": configs.SCALE,
    "model": {"features": configs.SIZE, "blocks": configs.SIZE, "kernel": configs.SIZE, "skip": str, "dtype": str},
    "disc": {"widths": configs.SIZES, "hidden": configs.SIZE},
    "loss": {"adversarial": str, "clip_sr": bool},
    "weights": dict.fromkeys(("pixel", "cosine", "magnitude", "euclid", "adv"), float),
    "frozen": {"identity": str},
    "optim": {"b1": float, "b2": float, "lr_pixel": float, "lr_joint": float, "lr_d": float, "ema": float},
    "train": {"pixel_steps": configs.STEPS, "joint_steps": configs.STEPS, "guard": bool},
}

IDENTITY_TERMS = ("cosine", "magnitude", "euclid")


def stages(config: Any) -> dict[str, int]:
    """Stage one (pixel loss) and stage two (everything), with their steps."""
    return {"pixel": config.train.pixel_steps, "joint": config.train.joint_steps}


def needed(config: Any) -> tuple[str, ...]:
    """The identity network, if the config names one: every variant is scored with it, also one not trained with it.

    Raises:
      ValueError: a term needs it and the config names none.
    """
    terms = [name for name in IDENTITY_TERMS if config.weights[name]]
    if config.frozen.identity:
        return ("identity",)
    if terms:
        raise ValueError(
            f"frozen.identity is empty, and weights.{terms[0]} needs an identity network: name one (jfsr port --list), "
            "or train without it (variants sr_net, srgan)"
        )
    return ()


def generator(config: Any) -> SRResNet:
    """The generator that the config describes."""
    m = config.model
    return SRResNet(
        scale=config.scale,
        features=m.features,
        blocks=m.blocks,
        kernel=m.kernel,
        skip=m.skip,
        dtype=common.compute_dtype(m.dtype),
    )


def discriminator(config: Any) -> Discriminator:
    """The discriminator of the variant ``srgan``."""
    return Discriminator(widths=tuple(config.disc.widths), hidden=config.disc.hidden)


def init(config: Any, key: common.Key, batch: Mapping[str, Any]) -> State:
    """Fresh state. ``batch`` gives the shapes; networks that the config does not train are left out."""
    hr, small = jnp.asarray(batch["hr"][:1]), common.blank_lr(config, batch)
    tx = common.adam(config.optim)
    key_g, key_d = jax.random.split(key)
    nets = {"g": common.init_net(generator(config), key_g, small, tx=tx, ema=True)}
    if config.weights.adv and config.train.joint_steps:
        nets["d"] = common.init_net(discriminator(config), key_d, jnp.zeros_like(hr), tx=tx)
    return common.new_state(nets)


def train_step(
    config: Any, state: State, frozen: dict, batch: dict[str, Array], key: common.Key, *, stage: str
) -> tuple[State, dict[str, Array]]:
    """One step of stage ``'pixel'`` or ``'joint'``: the discriminator, if any, then the generator against the new one.

    Args:
      config: the run's config (static).
      state: networks and counters.
      frozen: variables of the identity network.
      batch: ``hr`` [b,128,128,3] in [0, 1], ``position`` [b]; ``lr`` where the pipeline degraded, else it is degraded
        here.
      key: the run's root key.
      stage: which losses are on.

    Returns:
      The new state and the metrics, both averaged over ``'data'``.
    """
    hr, lr = batch["hr"], common.low_resolution(config, state, batch, key)
    net, joint = state.nets["g"], stage == "joint"

    # ---- One forward pass of the generator serves both updates.
    def forward(params):
        variables = {"params": params, "batch_stats": net.stats}
        sr, seen = generator(config).apply(variables, lr, train=True, mutable=["batch_stats"])
        return sr, seen["batch_stats"]

    sr, pull_back, stats = jax.vjp(forward, net.params, has_aux=True)

    # ---- Discriminator
    nets, grads_d = dict(state.nets), {}
    metrics: dict[str, Array] = {}
    if joint and "d" in nets:
        nets["d"], metrics, grads_d["d"] = common.update_discriminator(
            "d",
            discriminator(config),
            nets["d"],
            hr,
            common.seen(config, sr),
            kind=config.loss.adversarial,
            tx=common.adam(config.optim),
            rate=jnp.float32(config.optim.lr_joint * config.optim.lr_d),
        )

    # ---- Generator: the gradient reaches the image, then runs back once.
    def objective(sr):
        terms = {"pixel": jnp.mean(squared_error(sr, hr))}
        seen = common.seen(config, sr)
        if joint:
            terms |= _identity_terms(config, frozen, seen, hr)
        if joint and "d" in nets:
            terms["adv"] = common.adversarial_loss(discriminator(config), nets["d"], seen, kind=config.loss.adversarial)
        return common.weigh(terms, config.weights), terms

    (total, terms), grads = jax.value_and_grad(objective, has_aux=True)(sr)
    (grads,) = pull_back(grads)
    grads, stats = jax.lax.pmean((grads, stats), AXIS)
    rate = jnp.float32(config.optim.lr_joint if joint else config.optim.lr_pixel)
    net = common.apply_updates(net, grads, tx=common.adam(config.optim), rate=rate, stats=stats)
    nets["g"] = common.ema(net, config.optim.ema, state.step)

    metrics |= {f"g/{name}": value for name, value in terms.items()}
    return common.finish_step(
        config, state, nets, total=total, grads=grads, rate=rate, metrics=metrics, watched=grads_d
    )


def predict(config: Any, variables: dict, lr: Float[Array, "b h w 3"]) -> Prediction:
    """Super-resolves faces.

    Args:
      config: the run's config.
      variables: ``{'params', 'batch_stats'}`` of the generator; its BatchNorm uses the running statistics.
      lr: [b, 128/scale, 128/scale, 3] in [0, 1].

    Returns:
      ``sr`` [b,128,128,3] in [0, 1], and ``stages``, the same by its resolution.
    """
    sr = jnp.clip(generator(config).apply(variables, lr, train=False), 0.0, 1.0)
    return {"sr": sr, "stages": {sr.shape[1]: sr}}


def score(config: Any, variables: dict, frozen: dict, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
    """Validation, per image: PSNR in dB, and the cosine of the identity features of SR and HR."""
    sr = predict(config, variables, batch["lr"])["sr"]
    out = {"psnr": common.psnr(sr, batch["hr"])}
    if "identity" in frozen:
        features = _features(config, frozen, sr, batch["hr"])
        out["identity_cosine"] = 1.0 - losses.cosine_distance(*features)
    return out


# ---- The loss terms, one value per image; (1) is `losses.cosine_distance`.


def squared_error(sr: Float[Array, "b h w c"], hr: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Squared difference of the images, (3).

    DEVIATES: a mean over pixels and channels where the paper has the sum; alpha in configs/iafsr.py makes up for it.
    """
    return jnp.square(sr - hr).mean(axis=(1, 2, 3))


def magnitude_gap(sr: Float[Array, "b f"], hr: Float[Array, "b f"]) -> Float[Array, " b"]:
    """Absolute difference of the features' lengths, (2); the paper's norm of that one number."""
    return jnp.abs(_length(sr) - _length(hr))


def feature_distance(sr: Float[Array, "b f"], hr: Float[Array, "b f"]) -> Float[Array, " b"]:
    """Squared Euclidean distance of the features over twice the mean squared length of the HR features: SR+Ou's loss.

    DEVIATES: the paper gives SR+Ou no weight. So divided, it is 1 - cosine for features as long as the average, and the
    weight means what it means in (1), whatever the network's scale.
    """
    mean = jax.lax.pmean(jnp.mean(jnp.square(hr).sum(axis=-1)), AXIS)
    return jnp.square(sr - hr).sum(axis=-1) / (2.0 * mean)


def _length(x: Float[Array, "b f"]) -> Float[Array, " b"]:
    return jnp.sqrt(jnp.maximum(jnp.square(x).sum(axis=-1), 1e-12))  # a zero feature passes no NaN back


def _features(config: Any, frozen: dict, sr: Array, hr: Array) -> tuple[Array, Array]:
    net = zoo.network(config.frozen.identity)
    return net.apply(frozen["identity"], sr), net.apply(frozen["identity"], hr)


def _identity_terms(config: Any, frozen: dict, sr: Array, hr: Array) -> dict[str, Array]:
    """The terms on the identity features that have a weight."""
    names = [name for name in IDENTITY_TERMS if config.weights[name]]
    if not names:
        return {}
    features = _features(config, frozen, sr, hr)
    terms = {"cosine": losses.cosine_distance, "magnitude": magnitude_gap, "euclid": feature_distance}
    return {name: jnp.mean(terms[name](*features)) for name in names}
