"""Training the quality gate of MSGAN's Table 3, see jfsr/methods/gate.py.

Variants, joined by commas after the colon, with key=value overrides anywhere among them::

    base (default)              HopeNet's features on 300W-LP
    quick                       our small pose network on synthetic heads: half a minute on two CPU cores
    faces                       LightPose on a folder of faces (data.sources.faces.dir, val.source.dir)
    debug                       quick in seconds

300W-LP is read from where 'jfsr data build 300w_lp --from FOLDER' put it, or from data.sources.faces.dir=FOLDER.
"""

from ml_collections import ConfigDict

from configs import common
from configs.common import source


def get_config(arg: str = "") -> ConfigDict:
    """The run that ``arg`` describes."""
    return common.get_config(arg, base=base(), variants=VARIANTS)


def base() -> ConfigDict:
    """The paper's classifier: HopeNet's features on 300W-LP, original, 16×16 and 8×8."""
    c = common.base("gate")
    c.scales = (8, 16)
    # DEVIATES: the paper says "a binary classifier"; its shape, optimizer, batch and length are ours.
    c.model = ConfigDict({"widths": (256,)})
    c.frozen = ConfigDict({"pose": "hopenet"})
    c.optim = ConfigDict({"b1": 0.9, "b2": 0.99, "lr": 1e-3, "warmup": 0.05, "weight_decay": 0.01, "ema": 0.99})
    c.train.update({"batch": 64, "steps": 4000})
    c.data.degrade_on = "device"  # the pipeline gives HR faces alone
    c.data.sources.faces = source("300w_lp", split="train", crop="hopenet_300wlp", margin=0.0)
    # 300W-LP has no validation split: these are training faces, cropped by the middle of the margins drawn in training.
    c.val = ConfigDict({"limit": 512, "batch": 64})
    c.val.source = source("300w_lp", split="train", crop="hopenet_300wlp", margin=0.3)
    c.log = ConfigDict({"every": 50, "val_every": 500, "samples_every": 500, "samples": 0})
    c.checkpoint = ConfigDict({"every": 500, "keep": 2, "best": "val/accuracy", "mode": "max"})
    return c


def _quick(c):
    c.frozen.pose = "small_pose"
    c.model.widths = (64,)
    c.data.sources.faces = source("synthetic_heads", split="train")
    c.val.source = source("synthetic_heads", split="validation")
    c.data.jitter = 0.03
    c.optim.lr = 2e-3
    c.train.update({"batch": 32, "steps": 300})
    c.val.limit = 256
    c.log.update({"every": 25, "val_every": 150})
    c.checkpoint.every = 150


def _faces(c):
    c.frozen.pose = "lightpose"
    c.model.widths = (64,)
    c.data.sources.faces = source("folder", crop="landmark_box", margin=1.2)
    c.val.source = source("folder", crop="landmark_box", margin=1.2)
    c.data.jitter = 0.05
    c.train.update({"batch": 32, "steps": 1000})
    c.val.limit = 256


def _debug(c):
    _quick(c)
    c.model.widths = (8,)
    common.debug(c)


VARIANTS = {"base": lambda c: None, "quick": _quick, "faces": _faces, "debug": _debug}
