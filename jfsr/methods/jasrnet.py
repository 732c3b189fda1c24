"""JASRNet: joint super-resolution and alignment of tiny faces (Yin et al., AAAI 2020).

One network turns a 16×16 face into the face of 128×128 and into heatmaps of its 68 landmarks; the tasks share their
features. ``model.landmarks`` gives it another number of them, ``scale`` 4 and ``data.hr_size`` 256 the paper's 64×64.
One stage of training, with (1), whose terms have the names of ``config.weights``::

    pixel     absolute difference of the images
    heatmap   squared difference of the heatmaps of every stage, where the landmark is known, visible and inside

The rows of Tables 4 and 5 are options of the network, set in ``configs/jasrnet.py``. A network without one of the heads
has no term for it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from jfsr import config as configs
from jfsr import geometry, losses
from jfsr.data import heatmaps
from jfsr.data.records import LANDMARKS
from jfsr.methods import Prediction, common
from jfsr.methods.common import AXIS, State
from jfsr.models.jasrnet import DOWN, JASRNet, Output, enlarge

CONFIG = {
    "scale": configs.SCALE,
    "model": {"features": configs.SIZE, "blocks": configs.SIZE, "stages": configs.SIZE, "landmarks": configs.SIZE,
              "fusion": str, "long_skip": bool, "heads": str, "skip": str, "init_std": float, "dtype": str},
    "heatmap": {"sigma_px": float, "floor": float},
    "weights": {"pixel": float, "heatmap": float},
    "optim": {"b1": float, "b2": float, "lr": float, "drops": tuple[float, ...], "drop": float,
              "weight_decay": float, "ema": float},
    "train": {"steps": configs.STEPS, "guard": bool},
    "data": {"rotate_deg": float},
}  # fmt: skip


def stages(config: Any) -> dict[str, int]:
    """The one stage, with its steps."""
    return {"joint": config.train.steps}


def needed(config: Any) -> tuple[str, ...]:
    """No frozen network is needed."""
    return ()


def learns_from(config: Any) -> dict[str, str]:
    """Landmarks, if the network aligns."""
    aligns = config.model.heads != "sr" and config.weights.heatmap
    return {"landmarks_px": "weights.heatmap"} if aligns else {}


def generator(config: Any) -> JASRNet:
    """The network that the config describes."""
    m = config.model
    return JASRNet(
        scale=config.scale,
        features=m.features,
        blocks=m.blocks,
        stages=m.stages,
        landmarks=m.landmarks,
        fusion=m.fusion,
        long_skip=m.long_skip,
        heads=m.heads,
        skip=m.skip,
        init_std=m.init_std,
        dtype=common.compute_dtype(m.dtype),
    )


def optimizer(config: Any) -> optax.GradientTransformation:
    """Adam's direction on gradient + weight_decay · parameter, biases included: PyTorch's Adam, not AdamW."""
    return optax.chain(optax.add_decayed_weights(config.optim.weight_decay), common.adam(config.optim))


def init(config: Any, key: common.Key, batch: Mapping[str, Any]) -> State:
    """Fresh state. ``batch`` gives the shapes.

    Raises:
      ValueError: the faces have another number of landmarks than the network.
    """
    if (points := batch["landmarks_px"].shape[1] if "landmarks_px" in batch else 0) not in (0, config.model.landmarks):
        raise ValueError(
            f"model.landmarks is {config.model.landmarks}, and the faces of data.sources have {points} landmarks"
        )
    small = common.blank_lr(config, batch)
    return common.new_state({"g": common.init_net(generator(config), key, small, tx=optimizer(config), ema=True)})


def train_step(
    config: Any, state: State, frozen: dict, batch: dict[str, Array], key: common.Key, *, stage: str
) -> tuple[State, dict[str, Array]]:
    """One step with (1).

    Args:
      config: the run's config (static).
      state: network and counters.
      frozen: empty.
      batch: ``hr`` [b,128,128,3] in [0, 1], ``landmarks_px`` [b,68,2] (NaN = unknown), ``visible`` [b,68], ``position``
        [b]; ``lr`` where the pipeline degraded, else it is degraded here.
      key: the run's root key.
      stage: ``'joint'``.

    Returns:
      The new state and the metrics, both averaged over ``'data'``.
    """
    lr, net = common.low_resolution(config, state, batch, key), state.nets["g"]

    def objective(params):
        terms = _terms(config, generator(config).apply({"params": params}, lr), batch)
        return common.weigh(terms, config.weights), terms

    (total, terms), grads = jax.value_and_grad(objective, has_aux=True)(net.params)
    grads = jax.lax.pmean(grads, AXIS)
    rate = _rate(config, state.step)
    net = common.apply_updates(net, grads, tx=optimizer(config), rate=rate)
    nets = {"g": common.ema(net, config.optim.ema, state.step)}
    metrics = {f"g/{name}": value for name, value in terms.items()}
    return common.finish_step(config, state, nets, total=total, grads=grads, rate=rate, metrics=metrics)


def predict(config: Any, variables: dict, lr: Float[Array, "b h w 3"]) -> Prediction:
    """Super-resolves and aligns faces.

    Args:
      config: the run's config.
      variables: ``{'params': …}``.
      lr: [b, 128/scale, 128/scale, 3] in [0, 1].

    Returns:
      ``sr`` [b,128,128,3] in [0, 1] (of a network without that head: its input, enlarged), ``stages``, the same by its
      resolution, and where the network aligns: ``heatmaps`` [b,16,16,69] of the last stage, ``landmarks_px`` [b,68,2]
      by arg-max, ``landmarks_soft_px`` by the centre of mass, see :func:`jfsr.geometry.decode_heatmaps`.
    """
    output = generator(config).apply(variables, lr)
    sr = jnp.clip(enlarge(lr, config.scale) if output.sr is None else output.sr, 0.0, 1.0)
    out: Prediction = {"sr": sr, "stages": {sr.shape[1]: sr}}
    if output.heatmaps is not None:
        maps = output.heatmaps[-1]
        out["heatmaps"] = maps
        decode = functools.partial(geometry.decode_heatmaps, maps[..., :-1], image_size=sr.shape[1])
        out["landmarks_px"], out["landmarks_soft_px"] = decode(soft=False), decode(soft=True)
    return out


def score(config: Any, variables: dict, frozen: dict, batch: dict[str, Array]) -> dict[str, Float[Array, " b"]]:
    """Validation, per image: PSNR in dB, and NMSE by arg-max, in percent of the outer eyes' distance and of the box.

    The second is stable where faces turn so far that the distance of the eyes vanishes.
    """
    predicted = predict(config, variables, batch["lr"])
    out = {}
    if config.model.heads != "align":
        out["psnr"] = common.psnr(predicted["sr"], batch["hr"])
    if "landmarks_px" in predicted:
        true = batch["landmarks_px"]
        gap = _mean_gap(predicted["landmarks_px"], true, batch["visible"])
        if config.model.landmarks == LANDMARKS:  # AFLW's 19 and HELEN's 194 are scored by the box alone
            out["nmse"] = 100.0 * gap / jnp.linalg.norm(true[:, 36] - true[:, 45], axis=-1)
        out["nmse_box"] = 100.0 * gap / jnp.sqrt(jnp.prod(jnp.nanmax(true, axis=1) - jnp.nanmin(true, axis=1), axis=-1))
    return out


# ---- The loss terms of (1), one value per image; the first is `losses.l1`.


def heatmap_error(
    maps: Float[Array, "s b h w k"], target: Float[Array, "b h w k"], counts: Bool[Array, "b k"]
) -> Float[Array, " b"]:
    """Half the squared difference, summed over the stages, the cells and the maps that count.

    DEVIATES: (1) has the root of the sum, of one heatmap; this is the authors' code, with which alpha is 1.
    """
    gap = jnp.square(maps - target[None]) * counts[None, :, None, None]
    return 0.5 * gap.sum(axis=(0, 2, 3, 4))


def targets(
    config: Any, landmarks_px: Float[Array, "b n 2"], visible: Bool[Array, "b n"], *, size: int
) -> tuple[Float[Array, "b h w k"], Bool[Array, "b k"]]:
    """Heatmaps with background, and which of them count: those of landmarks drawn, and the background if any is."""
    c, image_size = config.heatmap, size * DOWN
    maps = heatmaps.landmark_heatmaps(
        landmarks_px, visible, size=size, image_size=image_size, sigma_px=c.sigma_px, floor=c.floor
    )
    drawn = visible & heatmaps.inside(landmarks_px, image_size)
    return heatmaps.with_background(maps), jnp.concatenate([drawn, drawn.any(-1, keepdims=True)], axis=-1)


def _terms(config: Any, output: Output, batch: dict[str, Array]) -> dict[str, Array]:
    terms = {}
    if output.sr is not None:
        # DEVIATES: (1) has the sum over pixels; as in the authors' code this is the mean, with which alpha is 1.
        terms["pixel"] = jnp.mean(losses.l1(output.sr, batch["hr"]))
    if output.heatmaps is not None:
        target, counts = targets(config, batch["landmarks_px"], batch["visible"], size=output.heatmaps.shape[2])
        terms["heatmap"] = common.masked_mean(heatmap_error(output.heatmaps, target, counts), counts[:, -1])
    return terms


def _rate(config: Any, step: Array) -> Array:
    """The rate, halved at the 20th and 30th of 40 epochs."""
    o = config.optim
    return common.rate_with_drops(step, base=o.lr, total=config.train.steps, drops=tuple(o.drops), factor=o.drop)


def _mean_gap(estimated_px: Array, true_px: Array, visible: Array) -> Float[Array, " b"]:
    """Mean distance in pixels over the visible points; with a size of the face, :func:`jfsr.metrics.nmse`."""
    known = visible & jnp.isfinite(true_px).all(-1)
    gap = jnp.where(known, jnp.linalg.norm(estimated_px - true_px, axis=-1), 0.0)
    return gap.sum(-1) / known.sum(-1)
