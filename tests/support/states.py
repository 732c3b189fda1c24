"""Small training states and workdirs, made without any training."""

from __future__ import annotations

import jax
import ml_dtypes
import numpy as np
import optax
from ml_collections import ConfigDict

from jfsr import config as configs
from jfsr.methods.common import Net, State
from jfsr.training import checkpoint

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())  # EmptyState and a named tuple


def run_config(**changes):
    config = {"method": "msgan", "seed": 0, "parallel": "pmap", "train": {"batch": 4}, "log": {"every": 1}}
    config |= {"checkpoint": {"every": 1, "keep": 2, "best": "val/psnr", "mode": "max"}}
    return ConfigDict(configs._tuples({**config, **changes}))


def new_state(step=0, seed=0, width=4):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    params = {"conv": {"kernel": draw(3, 3, 2, width), "bias": draw(width)}}
    params["half"] = rng.normal(size=(5,)).astype(ml_dtypes.bfloat16)
    opt = jax.tree.map(lambda x: np.asarray(x + 0.1).astype(x.dtype), jax.device_get(TX.init(params)))
    g = Net(params=params, opt=opt, ema=jax.tree.map(lambda x: x * 2, params))
    d = Net(params={"dense": {"kernel": draw(2, 3)}}, stats={"norm": {"mean": draw(3)}, "sigma": np.float32(0.7)})
    counters = {name: np.array(value, np.int32) for name, value in {"step": step, "skipped": 3, "bad_run": 1}.items()}
    return State(nets={"g": g, "d_64": d}, **counters)


def assert_same(a, b):
    """Equal in structure, types, shapes and every bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes()), jax.tree_util.keystr(path)


def saved(workdir, *steps, scores=None, config=None):
    """A workdir with checkpoints of these steps."""
    manager = checkpoint.open_manager(workdir, config or run_config())
    for step in steps:
        checkpoint.save(manager, new_state(step, seed=step), (scores or {}).get(step), wait=True)
    manager.close()
    return workdir


def reopened(workdir, fresh=None, config=None):
    """The state that a resumed run gets."""
    manager = checkpoint.open_manager(workdir, config or run_config())
    try:
        return checkpoint.restore(manager, new_state(seed=99) if fresh is None else fresh)
    finally:
        manager.close()
