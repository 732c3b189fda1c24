"""Training an identity network, see jfsr/methods/identity.py. Variants: base (default) | debug."""

from ml_collections import ConfigDict

from jfsr.config import parse


def get_config(arg: str = "") -> ConfigDict:
    """The run that ``arg`` describes."""
    return parse(arg, VARIANTS, base())


def base() -> ConfigDict:
    """Our small identity network on synthetic heads: the frozen network that ships as ``small_identity``."""
    c = ConfigDict()
    c.method = "identity"
    c.seed = 0
    c.parallel = "pmap"
    c.model = ConfigDict({"name": "small_identity", "classes": 504})
    c.loss = ConfigDict({"margin": 0.2, "sharpness": 24.0})
    c.optim = ConfigDict({"b1": 0.9, "b2": 0.99, "lr": 2e-3, "warmup": 0.05, "decay": 0.05, "ema": 0.995})
    c.train = ConfigDict({"batch": 64, "steps": 2000, "guard": True, "max_bad_run": 20})
    c.data = ConfigDict({"flip": 0.5, "jitter": 0.03, "shuffle": True, "degradation": "bicubic"})
    c.data.degrade_on = "device"  # the pipeline gives HR faces alone
    heads = {"dataset": "synthetic_heads", "dir": "", "crop": "none", "margin": 1.0, "weight": 1.0}
    c.data.sources = ConfigDict({"heads": ConfigDict({**heads, "split": "train"})})
    c.val = ConfigDict({"source": ConfigDict({**heads, "split": "validation"}), "limit": 256, "batch": 256})
    c.log = ConfigDict({"every": 50, "val_every": 500, "samples_every": 500, "samples": 0})
    c.checkpoint = ConfigDict({"every": 500, "keep": 2, "best": "val/nearest_is_same", "mode": "max"})
    return c


def _debug(c):
    c.train.update({"batch": 4, "steps": 2})
    c.val.update({"limit": 8, "batch": 8})
    c.log.update({"every": 1, "val_every": 2})
    c.checkpoint.update({"every": 2})


VARIANTS = {"base": lambda c: None, "debug": _debug}
