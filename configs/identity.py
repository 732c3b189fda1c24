"""Training an identity network, see jfsr/methods/identity.py. Variants: base (default) | debug."""

from ml_collections import ConfigDict

from configs import common
from configs.common import source


def get_config(arg: str = "") -> ConfigDict:
    """The run that ``arg`` describes."""
    return common.get_config(arg, base=base(), variants=VARIANTS)


def base() -> ConfigDict:
    """Our small identity network on synthetic heads: the frozen network that ships as ``small_identity``."""
    c = common.base("identity")
    c.model = ConfigDict({"name": "small_identity", "classes": 504})
    c.loss = ConfigDict({"margin": 0.2, "sharpness": 24.0})
    c.optim = ConfigDict({"b1": 0.9, "b2": 0.99, "lr": 2e-3, "warmup": 0.05, "weight_decay": 0.05, "ema": 0.995})
    c.train.update({"batch": 64, "steps": 2000})
    # Degraded on the device: the pipeline gives HR faces alone.
    c.data.update({"jitter": 0.03, "degrade_on": "device"})
    c.data.sources.heads = source("synthetic_heads", split="train")
    c.val = ConfigDict({"source": source("synthetic_heads", split="validation"), "limit": 256, "batch": 256})
    c.log = ConfigDict({"every": 50, "val_every": 500, "samples_every": 500, "samples": 0})
    c.checkpoint = ConfigDict({"every": 500, "keep": 2, "best": "val/nearest_is_same", "mode": "max"})
    return c


def _debug(c):
    common.debug(c, faces=8)


VARIANTS = {"base": lambda c: None, "debug": _debug}
