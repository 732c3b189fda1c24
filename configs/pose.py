"""Training a head pose network, see jfsr/methods/pose.py.

Variants: hr (default) | lr16 | lr8 (the network sees faces that went through 16×16 or 8×8) | debug.
"""

from ml_collections import ConfigDict

from jfsr.config import parse


def get_config(arg: str = "") -> ConfigDict:
    """The run that ``arg`` describes."""
    return parse(arg, VARIANTS, base())


def base() -> ConfigDict:
    """Our small pose network on synthetic heads: the ruler that ships as ``small_pose``."""
    c = ConfigDict()
    c.method = "pose"
    c.seed = 0
    c.scale = 1
    c.parallel = "pmap"
    c.model = ConfigDict({"name": "small_pose"})
    c.weights = ConfigDict({"mse": 0.01, "smooth": 0.05})
    c.optim = ConfigDict({"b1": 0.9, "b2": 0.99, "lr": 2e-3, "warmup": 0.05, "decay": 0.05, "ema": 0.995})
    c.train = ConfigDict({"batch": 64, "steps": 2500, "guard": True, "max_bad_run": 20})
    c.data = ConfigDict({"flip": 0.5, "jitter": 0.03, "shuffle": True, "degradation": "bicubic"})
    c.data.degrade_on = "device"  # the pipeline gives HR faces alone
    heads = {"reader": "synthetic_heads", "dir": "", "crop": "none", "margin": 1.0, "weight": 1.0}
    c.data.sources = ConfigDict({"heads": ConfigDict({**heads, "split": "train"})})
    c.val = ConfigDict({"source": ConfigDict({**heads, "split": "validation"}), "limit": 256, "batch": 64})
    c.log = ConfigDict({"every": 50, "val_every": 500, "samples_every": 500, "samples": 0})
    c.checkpoint = ConfigDict({"every": 500, "keep": 2, "best": "val/pose_mae_deg", "mode": "min"})
    return c


def _hr(c):
    c.scale = 1


def _lr16(c):
    c.scale = 8


def _lr8(c):
    c.scale = 16


def _debug(c):
    c.train.update({"batch": 4, "steps": 2})
    c.val.update({"limit": 4, "batch": 4})
    c.log.update({"every": 1, "val_every": 2})
    c.checkpoint.update({"every": 2})


VARIANTS = {"hr": _hr, "lr16": _lr16, "lr8": _lr8, "debug": _debug}
