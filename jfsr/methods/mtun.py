"""MTUN: face super-resolution guided by facial component heatmaps (Yu et al., ECCV 2018).

An unaligned face of 16×16 becomes an upright one of 128×128. On the way a spatial transformer turns the features
upright, and stacked hourglasses estimate four heatmaps (eyes, nose, mouth, chin), which join the features. Equation
numbers are the paper's. Generator and discriminator take turns in every step; one forward pass of the generator serves
both. The loss terms, by their names in ``config.weights``, with the paper's letter; their weighted sum is (6)::

    pixel       p  (1)   squared error                       adv      u  (3)(4)  against the discriminator
    perceptual  f  (2)   squared error of VGG-19's features  heatmap  h  (5)     squared error of the heatmaps

DEVIATES: the squared norms of (1), (2), (5) are means over the elements; with sums, the adversarial term would be
negligible.
A term with weight 0 is not computed; without ``heatmap`` there is no heatmap branch, as in the left half of Table 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from jfsr import config as configs
from jfsr.data import heatmaps, misalign
from jfsr.data.records import LANDMARKS
from jfsr.frozen import zoo
from jfsr.methods import Prediction, common
from jfsr.methods.common import AXIS, State
from jfsr.models.mtun import SCALE, MTUNDiscriminator, MTUNGenerator

CONFIG = {
    "scale": configs.SCALE,
    "model": {"widths": configs.SIZES, "autoencoder": bool, "stn_at": int, "heb_at": int, "stacks": configs.SIZE,
              "heb_features": configs.SIZE, "skip_connection": str, "skip": str, "dtype": str},
    "disc": {"widths": configs.SIZES},
    "loss": {"adversarial": str, "clip_sr": bool},
    "heatmap": {"sigma_px": float},
    "weights": {"pixel": float, "perceptual": float, "adv": float, "heatmap": float},
    "frozen": {"features": str},
    "optim": {"rms_decay": float, "lr": float, "lr_decay": float, "lr_decay_every": int, "ema": float},
    "train": {"steps": configs.STEPS, "guard": bool},
    "data": {"misalign": misalign.CONFIG},
}  # fmt: skip


def stages(config: Any) -> dict[str, int]:
    """One stage, with its steps."""
    return {"train": config.train.steps}


def needed(config: Any) -> tuple[str, ...]:
    """VGG-19's features, if (2) has a weight."""
    return ("features",) if config.weights.perceptual > 0 else ()


def learns_from(config: Any) -> dict[str, str]:
    """Landmarks, if the heatmaps have a weight."""
    return {"landmarks_px": "weights.heatmap"} if config.weights.heatmap else {}


def generator(config: Any) -> MTUNGenerator:
    """The generator that the config describes."""
    if config.scale != SCALE:
        raise ValueError(f"scale is {config.scale}; MTUN's transformer is built for ×{SCALE}")
    m = config.model
    return MTUNGenerator(
        widths=tuple(m.widths),
        autoencoder=m.autoencoder,
        stn_at=m.stn_at,
        heb_at=m.heb_at if config.weights.heatmap > 0 else 0,
        stacks=m.stacks,
        heb_features=m.heb_features,
        skip_connection=m.skip_connection,
        skip=m.skip,
        dtype=common.compute_dtype(m.dtype),
    )


def discriminator(config: Any) -> MTUNDiscriminator:
    """The discriminator that the config describes."""
    return MTUNDiscriminator(widths=tuple(config.disc.widths))


def optimizer(config: Any) -> optax.GradientTransformation:
    """RMSprop's direction; the paper's "decay rate 0.01" is the weight of the new square, optax's decay .99."""
    # DEVIATES: with the bias correction, or the first steps would be ten times too long.
    return optax.scale_by_rms(decay=config.optim.rms_decay, eps=1e-8, bias_correction=True)


def init(config: Any, key: common.Key, batch: Mapping[str, Any]) -> State:
    """Fresh state. ``batch`` gives the shapes; a discriminator that has no weight is left out.

    Raises:
      ValueError: the heatmaps have a weight, and the faces other landmarks than iBUG's 68.
    """
    points = batch["landmarks_px"].shape[1] if "landmarks_px" in batch else LANDMARKS
    if config.weights.heatmap and points != LANDMARKS:
        raise ValueError(
            f"the components are made of {LANDMARKS} landmarks, and the faces of data.sources have {points}"
        )
    misalign.ranges(config.data.misalign)  # refused here, before anything is computed
    hr, small = jnp.asarray(batch["hr"][:1]), common.blank_lr(config, batch)
    for_g, for_d = jax.random.split(key)
    nets = {"g": common.init_net(generator(config), for_g, small, tx=optimizer(config), ema=True)}
    if config.weights.adv:
        nets["d"] = common.init_net(discriminator(config), for_d, hr, tx=optimizer(config))
    return common.new_state(nets)


def train_step(
    config: Any, state: State, frozen: dict, batch: dict[str, Array], key: common.Key, *, stage: str
) -> tuple[State, dict[str, Array]]:
    """One step: the discriminator first, then the generator against the new one.

    Args:
      config: the run's config (static).
      state: networks and counters.
      frozen: variables of VGG-19 under ``features``, where (2) is on.
      batch: ``hr`` [b,128,128,3], upright, in [0, 1]; ``landmarks_px`` [b,68,2] of it and ``visible`` [b,68];
        ``pose_deg`` [b,3]; ``position`` [b]; ``lr`` of the misaligned face where the pipeline degraded, else
        ``similarity`` [b,4], by which it is misaligned and degraded here.
      key: the run's root key.
      stage: 'train'.

    Returns:
      The new state and the metrics, both averaged over ``'data'``.
    """
    del stage
    hr, lr, g = batch["hr"], common.low_resolution(config, state, batch, key), generator(config)
    rate = config.optim.lr * config.optim.lr_decay ** (state.step // config.optim.lr_decay_every).astype(jnp.float32)

    # ---- One forward pass serves both updates; BatchNorm's new statistics come out beside it.
    def forward(params):
        out, new = g.apply({"params": params, "batch_stats": state.nets["g"].stats}, lr, mutable=["batch_stats"])
        return (out.image, out.maps), (out.theta, new.get("batch_stats", {}))

    (fake, maps), pull_back, (theta, stats) = jax.vjp(forward, state.nets["g"].params, has_aux=True)

    # ---- Discriminator, (3)
    nets, grads_d = dict(state.nets), {}
    metrics: dict[str, Array] = {}
    if "d" in nets:
        nets["d"], metrics, grads_d["d"] = common.update_discriminator(
            "d",
            discriminator(config),
            nets["d"],
            hr,
            common.seen(config, fake),
            kind=config.loss.adversarial,
            tx=optimizer(config),
            rate=rate,
        )

    # ---- Generator, (6): the gradient reaches image and heatmaps, then runs back once.
    def objective(fake, maps):
        terms, seen = {"pixel": jnp.mean(squared_distance(fake, hr))}, common.seen(config, fake)
        if config.weights.perceptual:
            vgg = zoo.network(config.frozen.features)
            features = (vgg.apply(frozen["features"], x) for x in (seen, hr))
            terms["perceptual"] = jnp.mean(squared_distance(*features))
        if "d" in nets:
            # DEVIATES: (4) as printed rewards fakes that look fake; this is -log D(fake).
            terms["adv"] = common.adversarial_loss(discriminator(config), nets["d"], seen, kind=config.loss.adversarial)
        if config.weights.heatmap:
            target, known = true_maps(config, batch, size=maps.shape[2])
            terms["heatmap"] = common.masked_mean(heatmap_loss(maps, target), known)
        return common.weigh(terms, config.weights), terms

    (total, terms), grads = jax.value_and_grad(objective, argnums=(0, 1), has_aux=True)(fake, maps)
    (grads,) = pull_back(grads)
    grads, stats = jax.lax.pmean((grads, stats), AXIS)
    net = common.apply_updates(nets["g"], grads, tx=optimizer(config), rate=rate, stats=stats)
    nets["g"] = common.ema(net, config.optim.ema, state.step)

    metrics |= {f"g/{name}": value for name, value in terms.items()}
    metrics["g/turned_deg"] = jnp.mean(jnp.abs(jnp.rad2deg(theta[:, 1])))
    return common.finish_step(
        config, state, nets, total=total, grads=grads, rate=rate, metrics=metrics, watched=grads_d
    )


def squared_distance(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """Mean squared difference of each image's pixels, (1), or of its features, (2)."""
    return jnp.mean(jnp.square(a - b), axis=(1, 2, 3))


def heatmap_loss(maps: Float[Array, "s b n n m"], target: Float[Array, "b n n m"]) -> Float[Array, " b"]:
    """Squared error of the heatmaps, (5), per image: mean over components and cells, summed over the hourglasses.

    DEVIATES: (5) has a Gaussian of its own for each landmark and divides by the number N of visible ones. A component
    is one map here, their maximum, so N is 1.
    """
    return jnp.sum(jnp.mean(jnp.square(maps - target[None]), axis=(2, 3, 4)), axis=0)


def true_maps(config: Any, batch: dict[str, Array], *, size: int) -> tuple[Float[Array, "b n n 4"], Bool[Array, " b"]]:
    """Heatmaps of the upright faces, hidden points left out, and which faces have landmarks at all."""
    known = jnp.any(jnp.isfinite(batch["landmarks_px"]), axis=(1, 2))
    visible = heatmaps.self_occluded(batch["visible"], batch["pose_deg"])
    image_size = batch["hr"].shape[1]
    sigma = config.heatmap.sigma_px
    maps = heatmaps.component_heatmaps(batch["landmarks_px"], visible, size=size, image_size=image_size, sigma_px=sigma)
    return maps, known


def predict(config: Any, variables: dict, lr: Float[Array, "b h w 3"]) -> Prediction:
    """Super-resolves unaligned faces.

    Args:
      config: the run's config.
      variables: ``params`` of the generator, moving average or raw, and ``batch_stats`` if it has a heatmap branch.
      lr: [b, 16, 16, 3] in [0, 1].

    Returns:
      ``sr`` [b,128,128,3] in [0, 1], upright; ``stages``, that image by its resolution; ``components`` [b,n,n,4], the
      heatmaps of eyes, nose, mouth and chin over it (n = 0 without that branch); ``theta``
      [b,4], the similarity that turns it upright.
    """
    out = generator(config).apply(variables, lr, train=False)
    image = jnp.clip(out.image, 0.0, 1.0)
    maps = out.maps[-1] if len(out.maps) else jnp.zeros((lr.shape[0], 0, 0, 4))
    return {"sr": image, "stages": {image.shape[1]: image}, "components": maps, "theta": out.theta}


def score(config: Any, variables: dict, frozen: dict, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
    """Validation, per image: PSNR in dB against the upright face, and the last heatmaps' error (5), where known."""
    del frozen
    predicted = predict(config, variables, batch["lr"])
    out = {"psnr": common.psnr(predicted["sr"], batch["hr"])}
    if size := predicted["components"].shape[1]:
        target, known = true_maps(config, batch, size=size)
        out["heatmap"] = jnp.where(known, heatmap_loss(predicted["components"][None], target), jnp.nan)
    return out
