"""A run without training: a method that answers by arithmetic, and a workdir of it."""

from __future__ import annotations

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jfsr.methods.common import Net, State
from jfsr.training import checkpoint

TRACES: list[tuple[int, ...]] = []  # shapes for which predict was compiled


def predict(config, variables, lr):
    """Every pixel becomes a square of its colour times the gain of its channel, plus its bias."""
    TRACES.append(lr.shape)
    big = jnp.repeat(jnp.repeat(lr, config.scale, axis=1), config.scale, axis=2)
    gain, bias = variables["params"]["gain"], variables["params"]["tone"]["bias"]
    sr = jnp.clip(big * gain[None, None, None] + bias[None, None, None], 0, 1)
    return {"sr": sr, "stages": {128: sr}}


def _not_trained(*_, **__):
    raise AssertionError("this run is not trained")


def install(monkeypatch) -> None:
    """Makes the methods ``fake`` (restores faces) and ``fake_network`` (does not) known to ``jfsr.methods.find``."""
    contract = {
        "CONFIG": {"scale": int, "frozen": {"pose": str}},
        **dict.fromkeys(("stages", "needed", "init", "train_step", "score"), _not_trained),
    }
    for name, restores in {"fake": {"predict": predict}, "fake_network": {}}.items():
        module = types.ModuleType(f"jfsr.methods.{name}")
        vars(module).update(contract | restores)
        monkeypatch.setitem(sys.modules, module.__name__, module)


def new_config(method="fake", pose=""):
    source = {
        "dataset": "synthetic_heads",
        "dir": "",
        "split": "train",
        "crop": "center",
        "margin": 0.88,
        "weight": 1.0,
    }
    return ConfigDict(
        {
            "method": method,
            "scale": 8,
            "seed": 0,
            "parallel": "pmap",
            "frozen": {"pose": pose},
            "train": {"batch": 4, "max_bad_run": 20},
            "log": {"every": 1, "samples_every": 0, "samples": 0, "val_every": 0},
            "val": {"source": source, "limit": 4, "batch": 4},
            "data": {
                "sources": {"heads": source},
                "flip": 0.5,
                "jitter": 0.0,
                "hr_size": 128,
                "shuffle": True,
                "degradation": "bicubic",
                "clean_share": 0.0,
                "degrade_on": "host",
                "where": "files",
            },
            "checkpoint": {"every": 10, "keep": 3, "best": "val/psnr", "mode": "max"},
        }
    )


def new_params(gain):
    bias = np.array([0.0, 0.01, -0.01], np.float32)
    return {"gain": np.full(3, gain, np.float32), "tone": {"bias": bias}}


def workdir(folder, *, config=None, scores=(30.0, 20.0), stats=None):
    """A workdir with steps 10, 20, …: one per score; raw gain = step / 100, average = half of it."""
    manager = checkpoint.open_manager(folder, config or new_config())
    for index, score in enumerate(scores):
        step = 10 * (index + 1)
        params = new_params(step / 100)
        g = Net(params=params, ema=jax.tree.map(lambda x: np.asarray(x / 2), params), stats=stats or {})
        d = Net(params={"kernel": np.zeros(100, np.float32)})
        zero = np.zeros((), np.int32)
        state = State(step=np.array(step, np.int32), nets={"g": g, "d_32": d}, skipped=zero, bad_run=zero)
        checkpoint.save(manager, state, {"val/psnr": score}, wait=True)
    manager.close()
    return folder
