"""Training a head pose network, see jfsr/methods/pose.py.

Variants, joined by commas after the colon, with key=value overrides anywhere among them::

    hr (default)                the network sees originals: a frozen network
    lr16 | lr8                  it sees faces that went through 16×16 or 8×8, enlarged to 128×128: the baseline 'trained
                                directly on low-resolution faces' (jfsr/evals/direct.py)
    w300lp                      Hopenet on 300W-LP, as the papers' tables need it
    faces                       LightPose on a folder of faces with poses (data.sources.faces.dir, val.source.dir)
    quick                       fewer steps on synthetic heads: about two minutes on two CPU cores
    debug                       anything above in seconds

300W-LP is read from where 'jfsr data build 300w_lp --from FOLDER' put it, or from data.sources.faces.dir=FOLDER.
"""

from ml_collections import ConfigDict

from configs import common
from configs.common import source


def get_config(arg: str = "") -> ConfigDict:
    """The run that ``arg`` describes."""
    return common.get_config(arg, base=base(), variants=VARIANTS)


def base() -> ConfigDict:
    """Our small pose network on synthetic heads: the frozen network that ships as ``small_pose``."""
    c = common.base("pose")
    c.scale = 1
    c.model = ConfigDict({"name": "small_pose"})
    c.weights = ConfigDict({"pose_mse": 0.01, "smooth": 0.05})
    c.optim = ConfigDict({"b1": 0.9, "b2": 0.99, "lr": 2e-3, "warmup": 0.05, "weight_decay": 0.05, "ema": 0.995})
    c.train.update({"batch": 64, "steps": 2500})
    # Degraded on the device: the pipeline gives HR faces alone.
    c.data.update({"jitter": 0.03, "degrade_on": "device"})
    c.data.sources.heads = source("synthetic_heads", split="train")
    c.val = ConfigDict({"source": source("synthetic_heads", split="validation"), "limit": 256, "batch": 64})
    c.log = ConfigDict({"every": 50, "val_every": 500, "samples_every": 500, "samples": 0})
    c.checkpoint = ConfigDict({"every": 500, "keep": 2, "best": "val/pose_mae_deg", "mode": "min"})
    return c


def _hr(c):
    c.scale = 1


def _lr16(c):
    c.scale = 8


def _lr8(c):
    c.scale = 16


def _w300lp(c):
    c.model.name = "hopenet"
    # Hopenet's own loss: every bin is filled, and the squared error counts as in hopenet_robust_alpha1.
    c.weights.update({"pose_mse": 1.0, "smooth": 0.0})
    # DEVIATES: Hopenet starts from a ResNet-50 trained on ImageNet and sees every face 5 times; this starts from chance
    # and sees each of the 61,225 faces 31 times.
    c.optim.update({"lr": 1e-3, "weight_decay": 1e-2, "ema": 0.999})
    c.train.update({"batch": 64, "steps": 30_000})
    c.data.jitter = 0.0  # the crop's margin is drawn instead, see hopenet_300wlp
    c.data.sources = ConfigDict({"faces": source("300w_lp", split="train", crop="hopenet_300wlp", margin=0.0)})
    # 300W-LP has no validation split: these are training faces, cropped by the middle of the margins drawn in training.
    c.val.source = source("300w_lp", split="train", crop="hopenet_300wlp", margin=0.3)
    c.log.update({"every": 100, "val_every": 2000})
    c.checkpoint.every = 2000


def _faces(c):
    c.model.name = "lightpose"
    c.optim.lr = 1e-3
    c.train.update({"batch": 32, "steps": 6000})
    c.data.jitter = 0.05
    c.data.sources = ConfigDict({"faces": source("folder", crop="landmark_box", margin=1.2)})
    c.val.source = source("folder", crop="landmark_box", margin=1.2)


def _quick(c):
    c.train.steps = 1000
    c.optim.ema = 0.99
    c.log.val_every = 500


def _debug(c):
    common.debug(c)


VARIANTS = {
    "hr": _hr, "lr16": _lr16, "lr8": _lr8, "w300lp": _w300lp, "faces": _faces, "quick": _quick, "debug": _debug,
}  # fmt: skip
