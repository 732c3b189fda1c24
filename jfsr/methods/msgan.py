"""MSGAN: joint super-resolution and head pose estimation for extreme low-resolution faces (Malakshan et al., 2022).

A generator super-resolves a 16×16 or 8×8 face to 128×128 in stages, so that a *frozen* pose network reads the result
as if it were the original. Stage one (``pixel``) trains the generator alone with L1; stage two (``joint``) adds one
discriminator per resolution, a discriminator on the pose network's features, and the losses below. Equation numbers
are the paper's.

The loss terms, by their names in ``config.weights``. The first four are summed over resolutions with
``config.stage_weights``, the paper's alpha; the others, L_p of (11), also have the factor ``weights.pose``::

    pixel       (12)      L1 at all resolutions; in stage one at those of config.loss.stage_one
    adv         (2)       at all resolutions
    perceptual  (13)      LPIPS at config.loss.perceptual_stages
    identity    (14)      cosine of identity features at config.loss.perceptual_stages
    pose_adv    (3)       D_r on the pose network's features
    pose_est    (4)(5)    cross-entropy + weights.pose_mse * squared error to the angles of config.loss.pose_target
    pose_angle  (6)       angle between the pose features of SR and HR
    pose_norm   (7)-(10)  difference of their lengths

Besides them, ``norm_beyond`` is the share of SR features whose length is more than three deviations from the mean of
HR's. Every network that reads SR reads it as it is stored, clipped to [0, 1] (``config.loss.clip_sr``); L1 does not.

A term with weight 0 is not computed, and a frozen network that no term needs is not loaded: the ablations of Table 4
are weights, set in ``configs/msgan.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jfsr import config as configs
from jfsr import geometry, losses
from jfsr.frozen import zoo
from jfsr.methods import Prediction, common
from jfsr.methods.common import AXIS, Net, State
from jfsr.models.msgan import FeatureDiscriminator, MSGANGenerator, PatchDiscriminator

RESOLUTIONS = ("r16", "r32", "r64", "r128", "r256")  # the last with data.hr_size=256
CONFIG = {
    "scale": configs.SCALE,
    "model": {"features": configs.SIZE, "growth": configs.SIZE, "blocks": configs.SIZES, "widths": configs.SIZES,
              "skip": str, "remat": bool, "dtype": str},
    "disc": {"widths": configs.SIZES, "feature_norm": str, "strides": dict.fromkeys(RESOLUTIONS, tuple[int, ...])},
    "loss": {"adversarial": str, "perceptual_stages": tuple[int, ...], "norm_momentum": float, "norm_clip": str,
             "clip_sr": bool, "stage_one": str, "pose_target": str},
    "stage_weights": dict.fromkeys(RESOLUTIONS, float),
    "weights": {"pixel": float, "adv": float, "perceptual": float, "identity": float, "pose_adv": float,
                "pose_est": float, "pose_angle": float, "pose_norm": float, "pose_mse": float, "pose": float},
    "frozen": {"pose": str, "identity": str, "perceptual": str},
    "warm_start": {"g": str},
    "optim": {"b1": float, "b2": float, "lr_pixel": float, "lr_joint": float, "lr_d": float,
              "drops": tuple[float, ...], "drop": float, "ema": float},
    "train": {"pixel_steps": configs.STEPS, "joint_steps": configs.STEPS, "guard": bool},
}  # fmt: skip

# What a config may say; the first is the paper's.
CHOICES = {
    "disc.feature_norm": ("joint", "apart"),
    "loss.norm_clip": losses.NORM_CLIPS,
    "loss.stage_one": ("last", "all"),
    "loss.pose_target": ("label", "reading", "label_or_reading"),
}

POSE_TERMS = ("pose_adv", "pose_est", "pose_angle", "pose_norm")

# What fits of the ×4 ESRGAN, which the paper doubles (III-A); our path: its path. Both halves take its blocks and
# the convolution behind them; its first convolution goes to the first half, as the second has none. Its convolutions
# after the upsampling are left out: ours take the output of PixelShuffle.
WARM_STARTS = {
    "g": {
        "rrdb": {
            "trunk1/conv_first": "trunk/conv_first",
            "trunk1/blocks": "trunk/blocks",
            "trunk1/conv_trunk": "trunk/conv_trunk",
            "trunk2/blocks": "trunk/blocks",
            "trunk2/conv_trunk": "trunk/conv_trunk",
        }
    }
}


def stages(config: Any) -> dict[str, int]:
    """Stage one (L1) and stage two (everything), with their steps."""
    return {"pixel": config.train.pixel_steps, "joint": config.train.joint_steps}


def needed(config: Any) -> tuple[str, ...]:
    """The kinds of frozen networks that some term of this config needs."""
    _check(config)
    w = config.weights
    if config.train.joint_steps == 0:
        return ()
    pose = w.pose * sum(w[name] for name in POSE_TERMS) > 0
    used = {"pose": pose, "identity": w.identity > 0, "perceptual": w.perceptual > 0}
    return tuple(kind for kind, is_used in used.items() if is_used)


def learns_from(config: Any) -> dict[str, str]:
    """Poses, if L_est has a weight and its target is the label."""
    w = config.weights
    labelled = config.train.joint_steps and w.pose * w.pose_est and config.loss.pose_target == "label"
    return {"pose_deg": "weights.pose_est"} if labelled else {}


def warm_starts(config: Any) -> dict[str, str]:
    """The generator's initial parameters, if the config names some: see :mod:`jfsr.training.warm_start`."""
    return {"g": config.warm_start.g} if config.warm_start.g else {}


def generator(config: Any) -> MSGANGenerator:
    """The generator that the config describes."""
    m = config.model
    return MSGANGenerator(
        scale=config.scale,
        hr_size=config.data.hr_size,
        features=m.features,
        growth=m.growth,
        blocks=tuple(m.blocks),
        widths=tuple(m.widths),
        skip=m.skip,
        remat=m.remat,
        dtype=common.compute_dtype(m.dtype),
    )


def discriminators(config: Any) -> dict[str, PatchDiscriminator]:
    """One PatchGAN discriminator per resolution, by the name of its :class:`Net`."""
    disc = config.disc
    return {
        f"d_{r}": PatchDiscriminator(size=r, widths=tuple(disc.widths), strides=tuple(disc.strides[f"r{r}"]))
        for r in generator(config).resolutions
    }


def init(config: Any, key: common.Key, batch: Mapping[str, Any]) -> State:
    """Fresh state. ``batch`` gives the shapes; networks that the config does not train are left out."""
    _check(config)
    tx = common.adam(config.optim)
    keys = iter(jax.random.split(key, 8))
    nets = {"g": common.init_net(generator(config), next(keys), common.blank_lr(config, batch), tx=tx, ema=True)}
    if config.train.joint_steps and config.weights.adv:
        for name, module in discriminators(config).items():
            image = jnp.zeros((1, module.size, module.size, 3))
            nets[name] = common.init_net(module, next(keys), image, tx=tx)
    if "pose" in needed(config):
        if config.weights.pose_adv:
            pose = zoo.network(config.frozen.pose)
            nets["d_r"] = common.init_net(FeatureDiscriminator(), next(keys), jnp.zeros((2, pose.features)), tx=tx)
        # Running mean and deviation of the HR features' norm, (8) and (9); they are state, so they are checkpointed.
        nets["norm"] = Net(params={}, stats={"mu": jnp.zeros(()), "sigma": jnp.ones(()), "seen": jnp.zeros(())})
    return common.new_state(nets)


def train_step(
    config: Any, state: State, frozen: dict, batch: dict[str, Array], key: common.Key, *, stage: str
) -> tuple[State, dict[str, Array]]:
    """One step of stage ``'pixel'`` or ``'joint'``: discriminators first, then the generator against the new ones.

    Args:
      config: the run's config (static).
      state: networks and counters.
      frozen: variables of the frozen networks, by kind.
      batch: ``hr`` [b,128,128,3] in [0, 1], ``pose_deg`` [b,3] (NaN = unknown), ``position`` [b]; ``lr`` where the
        pipeline degraded, else it is degraded here.
      key: the run's root key.
      stage: which losses are on.

    Returns:
      The new state and the metrics, both averaged over ``'data'``.
    """
    hr, lr = batch["hr"], common.low_resolution(config, state, batch, key)
    g, joint = generator(config), stage == "joint"
    with_pose = joint and "pose" in needed(config)
    pose = zoo.network(config.frozen.pose) if with_pose else None
    real = losses.stage_targets(hr, g.resolutions)

    # ---- One forward pass of the generator (and of the pose network on its result) serves every update.
    def forward(params):
        images = g.apply({"params": params}, lr)
        return images, pose.apply(frozen["pose"], common.seen(config, images[g.hr_size])) if pose else None

    (fake, pose_sr), pull_back = jax.vjp(forward, state.nets["g"].params)
    pose_hr = pose.apply(frozen["pose"], hr) if pose is not None else None

    # ---- Discriminators, (2) and (3): images of either kind go through in separate calls, features in one.
    nets, grads_d = dict(state.nets), {}
    metrics: dict[str, Array] = {}
    if joint:
        seen = {r: common.seen(config, image) for r, image in fake.items()}
        pairs = {name: (real[d.size], seen[d.size]) for name, d in discriminators(config).items() if name in nets}
        if "d_r" in nets:
            pairs["d_r"] = (pose_hr.features, pose_sr.features)
        rate_d = _rate(config, state.step, "joint") * config.optim.lr_d
        for name, (x_real, x_fake) in pairs.items():
            nets[name], of_d, grads_d[name] = common.update_discriminator(
                name,
                _discriminator(config, name),
                nets[name],
                x_real,
                x_fake,
                kind=config.loss.adversarial,
                tx=common.adam(config.optim),
                rate=rate_d,
                joint=name == "d_r" and config.disc.feature_norm == "joint",
            )
            metrics |= of_d

    # ---- Generator: the gradient reaches the images and the pose outputs, then runs back once.
    if with_pose:
        nets["norm"] = _track_norm(nets["norm"], pose_hr.features, config.loss.norm_momentum)

    def objective(fake, pose_sr):
        sizes = g.resolutions if joint or config.loss.stage_one == "all" else (g.hr_size,)
        terms = {"pixel": _over_stages(config, lambda r: losses.l1(fake[r], real[r]), sizes)}
        if joint:
            seen = {r: common.seen(config, image) for r, image in fake.items()}
            terms |= _image_terms(config, nets, frozen, seen, hr)
        total = common.weigh(terms, config.weights)
        if with_pose:
            pose_terms = _pose_terms(config, nets, pose, pose_sr, pose_hr, batch["pose_deg"])
            total += config.weights.pose * common.weigh(pose_terms, config.weights)
            terms |= pose_terms
        return total, terms

    (total, terms), grads = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)(fake, pose_sr)
    (grads,) = pull_back(grads)
    grads = jax.lax.pmean(grads, AXIS)
    rate = _rate(config, state.step, stage)
    net = common.apply_updates(nets["g"], grads, tx=common.adam(config.optim), rate=rate)
    nets["g"] = common.ema(net, config.optim.ema, state.step)

    metrics |= {f"g/{name}": value for name, value in terms.items()}
    if with_pose:
        metrics["g/norm_beyond"] = _beyond(nets["norm"], pose_sr.features)
    return common.finish_step(
        config, state, nets, total=total, grads=grads, rate=rate, metrics=metrics, watched=grads_d
    )


def predict(config: Any, variables: dict, lr: Float[Array, "b h w 3"]) -> Prediction:
    """Super-resolves faces.

    Args:
      config: the run's config.
      variables: ``{'params': …}`` of the generator, moving average or raw.
      lr: [b, 128/scale, 128/scale, 3] in [0, 1].

    Returns:
      ``sr`` [b,128,128,3] in [0, 1] and ``stages``, the image at every resolution that the config gives a weight: the
      others are not trained.
    """
    images = {r: jnp.clip(x, 0.0, 1.0) for r, x in generator(config).apply(variables, lr).items()}
    sr = images[config.data.hr_size]
    return {"sr": sr, "stages": {r: x for r, x in images.items() if config.stage_weights[f"r{r}"] or x is sr}}


def score(config: Any, variables: dict, frozen: dict, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
    """Validation: PSNR in dB and, where a pose network is loaded, its mean absolute error in degrees, per image."""
    sr = predict(config, variables, batch["lr"])["sr"]
    out = {"psnr": common.psnr(sr, batch["hr"])}
    if "pose" in frozen:
        pose = zoo.network(config.frozen.pose)
        estimate = pose.decode(pose.apply(frozen["pose"], sr).logits)
        gap = geometry.wrap_deg(estimate - batch["pose_deg"])
        # NaN where the label is unknown or out of the bins' range: such images do not count.
        known = geometry.pose_in_range(batch["pose_deg"])
        out["pose_mae_deg"] = jnp.where(known, jnp.mean(jnp.abs(gap), axis=-1), jnp.nan)
    return out


def _rate(config: Any, step: Array, stage: str) -> Array:
    """Learning rate: constant in stage one, dropped in stage two. DEVIATES: the paper gives no schedule."""
    if stage == "pixel":
        return jnp.float32(config.optim.lr_pixel)
    return common.rate_with_drops(
        step - config.train.pixel_steps,
        base=config.optim.lr_joint,
        total=config.train.joint_steps,
        drops=tuple(config.optim.drops),
        factor=config.optim.drop,
    )


def _check(config: Any) -> None:
    """ValueError for a choice that the config does not have, and for a resolution that the generator does not give."""
    for key, choices in CHOICES.items():
        section, name = key.split(".")
        if config[section][name] not in choices:
            raise ValueError(f"{key} is {config[section][name]!r}; it can be {' or '.join(choices)}")
    side = config.data.hr_size
    given = [side >> i for i in range(config.scale.bit_length() - 1)]
    unknown = [r for r in config.loss.perceptual_stages if r not in given]
    if unknown and side % config.scale == 0:  # otherwise data.hr_size is at fault, which the pipeline says
        raise ValueError(f"loss.perceptual_stages names {unknown[0]}; this generator gives {sorted(given)}")


def _discriminator(config: Any, name: str) -> PatchDiscriminator | FeatureDiscriminator:
    return FeatureDiscriminator() if name == "d_r" else discriminators(config)[name]


def _adversarial(config: Any, nets: dict[str, Net], name: str, fake: Array, *, real: Array | None = None) -> Array:
    kind = config.loss.adversarial
    return common.adversarial_loss(_discriminator(config, name), nets[name], fake, kind=kind, real=real)


def _over_stages(config: Any, term: Any, resolutions: tuple[int, ...]) -> Array:
    """Sum over resolutions with the paper's alpha, (16); ``term`` gives one value per image, or one for the batch."""
    return sum((config.stage_weights[f"r{r}"] * jnp.mean(term(r)) for r in resolutions), start=jnp.zeros(()))


def _image_terms(config: Any, nets: dict, frozen: dict, fake: dict[int, Array], hr: Array) -> dict[str, Array]:
    """Adversarial, LPIPS and identity terms of (15)."""
    terms, w = {}, config.weights
    resolutions = tuple(config.loss.perceptual_stages)
    if w.adv:
        terms["adv"] = _over_stages(config, lambda r: _adversarial(config, nets, f"d_{r}", fake[r]), tuple(fake))
    # LPIPS compares at the size of HR; an identity network resizes its input itself.
    if w.perceptual:
        net = zoo.network(config.frozen.perceptual)
        terms["perceptual"] = _over_stages(
            config, lambda r: net.distance(frozen["perceptual"], _to_size(fake[r], hr), hr), resolutions
        )
    if w.identity:
        net = zoo.network(config.frozen.identity)
        original = net.apply(frozen["identity"], hr)
        terms["identity"] = _over_stages(
            config, lambda r: losses.cosine_distance(net.apply(frozen["identity"], fake[r]), original), resolutions
        )
    return terms


def _pose_terms(config: Any, nets: dict, pose: Any, sr: Any, hr: Any, pose_deg: Array) -> dict[str, Array]:
    """The terms of L_p, (11): adversarial on features, estimation error, angle and magnitude of the features."""
    terms, w = {}, config.weights
    if w.pose_adv:
        real = hr.features if config.disc.feature_norm == "joint" else None
        terms["pose_adv"] = _adversarial(config, nets, "d_r", sr.features, real=real)
    if w.pose_est:
        target = _pose_target(config, pose_deg, pose.decode(hr.logits))
        ce, mse = losses.pose_estimation(sr.logits, target, pose.decode(sr.logits))
        terms["pose_est"] = common.masked_mean(ce + w.pose_mse * mse, geometry.pose_in_range(target))
    if w.pose_angle:
        terms["pose_angle"] = jnp.mean(losses.cosine_distance(sr.features, hr.features))
    if w.pose_norm:
        norm = nets["norm"].stats
        length_sr, length_hr = (jnp.linalg.norm(x.features, axis=-1) for x in (sr, hr))
        gap = losses.norm_gap(length_sr, length_hr, norm["mu"], norm["sigma"], clip=config.loss.norm_clip)
        terms["pose_norm"] = jnp.mean(gap)
    return terms


def _pose_target(config: Any, label_deg: Float[Array, "b 3"], reading_deg: Float[Array, "b 3"]) -> Float[Array, "b 3"]:
    """The pose that SR is to have, (4): the label, or what the pose network reads off HR; NaN = none.

    With 'label_or_reading', a face without a label (CelebA) has the reading. A label beyond the bins stays as it is:
    such a face is dropped, as in the paper.
    """
    if config.loss.pose_target == "label":
        return label_deg
    reading_deg = jax.lax.stop_gradient(reading_deg)
    if config.loss.pose_target == "reading":
        return reading_deg
    return jnp.where(jnp.isnan(label_deg).any(-1, keepdims=True), reading_deg, label_deg)


def _beyond(norm: Net, features: Float[Array, "b f"]) -> Float[Array, ""]:
    """Share of the features whose length is more than three deviations from the mean: a hard clip's gradient is 0."""
    z = losses.norm_z(jnp.linalg.norm(features, axis=-1), norm.stats["mu"], norm.stats["sigma"])
    return jnp.mean(jnp.abs(z) > 3.0)


def _track_norm(net: Net, features: Float[Array, "b f"], momentum: float) -> Net:
    """Running mean and deviation of the HR features' norm over the global batch, (8) and (9)."""
    length = jnp.linalg.norm(features, axis=-1)
    mean = jax.lax.pmean(jnp.mean(length), AXIS)
    std = jnp.sqrt(jax.lax.pmean(jnp.mean((length - mean) ** 2), AXIS))
    old = net.stats
    # The first batch sets both: averages that start at 0 and 1 would take 500 steps to reach the features' scale.
    first = old["seen"] == 0
    alpha = jnp.where(first, 1.0, momentum)
    mu, sigma = losses.running_moments(old["mu"], old["sigma"], mean, std, alpha=alpha)
    return net.replace(stats={"mu": mu, "sigma": sigma, "seen": old["seen"] + 1})


def _to_size(image: Float[Array, "b h w 3"], like: Float[Array, "b H W 3"]) -> Float[Array, "b H W 3"]:
    if image.shape == like.shape:
        return image
    return jax.image.resize(image, like.shape, "bilinear", antialias=False)
