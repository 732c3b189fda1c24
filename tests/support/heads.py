"""Seven small pictures with labels, a system and a pose network that answer by arithmetic: evaluations by hand."""

from __future__ import annotations

import types

import jax
import jax.numpy as jnp
import numpy as np

from jfsr.data import pipeline
from jfsr.evals import faces
from jfsr.frozen.network import PoseOutput, decode_bins


class Heads:
    """Seven smooth 32×32 pictures; the mean red of picture i says yaw = 10 i - 30 to the fake pose network."""

    name = "heads"

    def __len__(self):
        return 7

    def __getitem__(self, index):
        if index == 5:
            raise ValueError("five.png: cannot be decoded")
        y, x = np.mgrid[:32, :32] / 31
        image = np.stack([np.full_like(x, 0.1 + 0.1 * index), (1 + np.sin(6 * x + index)) / 2, y], -1)
        points = np.full((68, 2), np.nan, np.float32)
        points[:3] = [[4, 6], [27, 10], [16, 25 + index % 2]]
        return {
            "image": np.round(255 * image).astype(np.uint8),
            "pose_deg": np.array([[10 * index - 30, 3, -3], [np.nan] * 3, [0, 120, 0]][index % 3], np.float32),
            "identity": np.int32(-1),
            "landmarks_px": points,
            "landmarks5_px": points[:5],
            "visible": np.isfinite(points).all(-1),
            "box_px": np.full(4, np.nan, np.float32),
            "name": f"{index}.png",
        }


def nearest(lr):
    return np.repeat(np.repeat(np.asarray(lr), 8, axis=1), 8, axis=2)


def restored_heads(batch, *, scale=8):
    picked, _ = faces.usable(Heads())
    return faces.compare(lambda batch: nearest(batch["lr"]), pipeline.eval_batches(picked, scale=scale, batch=batch))


TRACES = []


def read_red(variables, images):
    TRACES.append(images.shape)
    bins = jnp.clip(jnp.round((images[..., 0].mean((1, 2)) - 0.1) / 0.1 * 10 / 3 + 23) + variables["shift"], 0, 65)
    logits = 50.0 * jax.nn.one_hot(bins.astype(jnp.int32), 66)
    zero = 50.0 * jax.nn.one_hot(jnp.full(len(images), 33), 66)
    return PoseOutput(images[:, 0, 0], jnp.stack([logits, zero, zero], 1))


NETWORK = types.SimpleNamespace(
    name="red", kind="pose", apply=read_red, decode=lambda logits: decode_bins(logits, centre=False)
)
