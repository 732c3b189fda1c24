"""Training steps in tests: a batch without files, a method on some devices, and states compared."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jfsr import methods
from jfsr.frozen import zoo
from jfsr.training import parallel

KEY = jax.random.key(0)


def faces(config, batch=4, seed=0, labelled=True):
    """A batch of smooth random images with labels."""
    rng = np.random.default_rng(seed)
    coarse = jnp.asarray(rng.uniform(size=(batch, 8, 8, 3)), jnp.float32)
    side = config.data.get("hr_size", 128)
    hr = np.clip(np.asarray(jax.image.resize(coarse, (batch, side, side, 3), "cubic")), 0, 1)
    pose_deg = rng.uniform(-60, 60, (batch, 3)).astype(np.float32)
    out = {
        "hr": hr,
        "pose_deg": pose_deg if labelled else np.full_like(pose_deg, np.nan),
        "identity": rng.integers(0, 4, batch).astype(np.int32),
        "landmarks_px": np.full((batch, 68, 2), np.nan, np.float32),
        "visible": np.zeros((batch, 68), bool),
        "position": np.arange(batch, dtype=np.int32),
    }
    scale = config.get("scale", 1)
    if scale > 1:
        n = side // scale
        out["lr"] = hr.reshape(batch, n, scale, n, scale, 3).mean((2, 4))
    return out


def frozen_for(config):
    return {kind: zoo.load(config.frozen[kind])[1] for kind in methods.find(config.method).needed(config)}


def traced(config, stage, *arguments):
    """The shapes that a step of one device gives; nothing is computed or compiled."""
    step = functools.partial(methods.find(config.method).train_step, config, stage=stage)
    return jax.make_jaxpr(step, axis_env=[("data", 1)], return_shape=True)(*arguments)[1]


class Run:
    """A method on some devices: init, then steps."""

    def __init__(self, config, *, devices=1, how="pmap", frozen=None):
        self.config, self.method = config, methods.find(config.method)
        self.mesh = parallel.Parallel(how, devices=jax.devices()[:devices])
        self.frozen = self.mesh.replicate(frozen or {})
        self.steps = {}

    def init(self, batch):
        return jax.device_get(jax.jit(functools.partial(self.method.init, self.config))(KEY, batch))

    def __call__(self, state, batch, stage):
        if stage not in self.steps:
            self.steps[stage] = self.mesh.compile(functools.partial(self.method.train_step, self.config, stage=stage))
        state, metrics = self.steps[stage](
            self.mesh.replicate(state), self.frozen, self.mesh.shard(batch), jax.random.key(1)
        )
        return self.mesh.fetch(state), self.mesh.fetch(metrics)


def assert_close(a, b, atol=1e-5, rate=1e-4):
    """Equal to ``atol``, but for one parameter in ten thousand, and that within Adam's rate.

    Adam's first step is gradient / |gradient|: where a gradient is as small as its rounding error, the step is not
    determined. The moments, which are linear in the gradient, are held to ``atol`` everywhere.
    """
    flat_a, flat_b = (jax.tree_util.tree_leaves_with_path(t) for t in (a, b))
    assert len(flat_a) == len(flat_b)
    for (path, x), (_, y) in zip(flat_a, flat_b, strict=True):
        where = jax.tree_util.keystr(path)
        assert np.shape(x) == np.shape(y), where
        gap = np.abs(np.asarray(x, np.float64) - y)
        off = gap > atol + 1e-4 * np.abs(y)
        stepped = ".params" in where or ".ema" in where
        assert off.sum() <= (max(1, off.size // 10_000) if stepped else 0), f"{where}: {off.sum()} of {off.size} differ"
        assert gap.max(initial=0.0) <= max(rate, atol + 1e-4 * np.abs(y).max(initial=0.0)), f"{where}: {gap.max()}"
