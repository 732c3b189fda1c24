"""IAFSR (Chen et al., 2020), see jfsr/methods/iafsr.py and configs/README.md for commands and results.

Variants, joined by commas after the colon, with key=value overrides anywhere among them::

    sr_net | srgan | sr_ou | sr_angle | proposed (default)    the rows of Table I
    quick                       small network, synthetic heads, our own identity network: minutes on two CPU cores
    faces                       reduced network on folders of real faces (data.sources.*.dir)
    debug                       anything above in seconds

The paper's run reads VGGFace2 as `jfsr data build vggface2 --splits=train22,test` leaves it.
"""

from ml_collections import ConfigDict

from configs import common
from configs.common import source
from jfsr.geometry import HR_SIZE

PIXELS = HR_SIZE * HR_SIZE * 3


def get_config(arg: str = "") -> ConfigDict:
    """The run that ``arg`` describes."""
    return common.get_config(arg, base=base(), variants=VARIANTS)


def base() -> ConfigDict:
    """The paper's run. DEVIATES lines mark what the paper does not say."""
    c = common.base("iafsr")
    c.scale = 8

    c.model = ConfigDict({"features": 64, "blocks": 6, "kernel": 9, "skip": "none", "dtype": "float32"})
    c.disc = ConfigDict({"widths": (64, 128, 256, 512), "hidden": 1024})  # of srgan alone

    # DEVIATES: the paper does not say whether F sees SR clipped; it does here, with the gradient of the unclipped.
    c.loss = ConfigDict({"adversarial": "bce", "clip_sr": True})
    # The paper's (4): alpha 1 on the *sum* of squared differences of (3), beta_1 10 on (1), beta_2 1e-3 on (2).
    # DEVIATES: our (3) is their mean over 128·128·3 numbers in [0, 1], so alpha is 1 × 49,152; the ratio of (3) to (1)
    # is the paper's.
    c.weights = ConfigDict({"pixel": 1.0 * PIXELS, "cosine": 10.0, "magnitude": 1e-3, "euclid": 0.0, "adv": 0.0})
    c.frozen = ConfigDict({"identity": "lightcnn9"})

    # DEVIATES: the paper names no optimizer; Adam. No average of the parameters (ema 0), no drop of the rate.
    c.optim = ConfigDict({"b1": 0.9, "b2": 0.999, "lr_pixel": 2e-3, "lr_joint": 1e-4, "lr_d": 1.0, "ema": 0.0})
    # The paper's 80 and 40 epochs of "about 190K face images", in steps of 128.
    c.train.update({"batch": 128, "pixel_steps": 118_750, "joint_steps": 59_375})

    # MTCNN's five points come with VGGFace2; the alignment by them is LightCNN's, as in the tables.
    c.data.sources.faces = source("vggface2", split="train22", crop="lightcnn")
    people = source("vggface2", split="test", crop="lightcnn")
    c.val = ConfigDict({"source": people, "limit": 512, "batch": 32})

    c.log = ConfigDict({"every": 100, "val_every": 5000, "samples_every": 5000, "samples": 6})
    c.checkpoint = ConfigDict({"every": 5000, "keep": 3, "best": "val/identity_cosine", "mode": "max"})
    return c


def _sr_net(c):
    c.weights.update({"cosine": 0.0, "magnitude": 0.0})


def _srgan(c):
    # DEVIATES: the weight is SRGAN's own 1e-3 beside a mean squared error of images in [-1, 1], which is 4 × ours.
    c.weights.update({"cosine": 0.0, "magnitude": 0.0, "adv": 1e-3 * c.weights.pixel / 4})


def _sr_ou(c):
    c.weights.update({"cosine": 0.0, "magnitude": 0.0, "euclid": c.weights.cosine})


def _sr_angle(c):
    c.weights.magnitude = 0.0


def _proposed(c):
    pass


def _quick(c):
    # Small enough for two CPU cores: half of a step would go into the 9×9 convolution to RGB. The residual over bicubic
    # makes the first steps useful.
    c.model.update({"features": 24, "blocks": 4, "kernel": 3, "skip": "bicubic"})
    c.disc.update({"widths": (8, 16, 32, 64), "hidden": 64})
    c.frozen.identity = "small_identity"
    # DEVIATES: 300 steps of the pixel loss and 300 of all are few, so stage two has a higher rate, and the identity
    # terms 200 times the weight: with the paper's, the gradient of (1) is a 25th of (3)'s on these heads, as the small
    # frozen network is hardly disturbed by low resolution. (On photographs, with mobilefacenet, it is a quarter.)
    for name in ("cosine", "magnitude", "euclid"):
        c.weights[name] *= 200.0
    c.optim.update({"lr_joint": 5e-4, "ema": 0.98})
    c.train.update({"batch": 8, "pixel_steps": 300, "joint_steps": 300})
    c.data.sources = ConfigDict()
    c.data.sources.heads = source("synthetic_heads", split="train")
    c.val = ConfigDict({"source": source("synthetic_heads", split="validation"), "limit": 128, "batch": 32})
    c.log.update({"every": 25, "val_every": 150, "samples_every": 300})
    c.checkpoint.update({"every": 150, "keep": 2})


def _faces(c):
    # Real faces; folders are the user's: --config=configs/iafsr.py:faces,data.sources.landmarks.dir=…
    c.model.update({"features": 48, "blocks": 6, "kernel": 5, "skip": "bicubic"})
    c.disc.update({"widths": (32, 64, 128, 256), "hidden": 256})
    c.frozen.identity = "mobilefacenet"
    c.train.update({"batch": 16, "pixel_steps": 4000, "joint_steps": 3000})
    c.data.sources = ConfigDict()
    c.data.sources.landmarks = source("folder", crop="landmark_box", margin=1.2, weight=0.3)
    c.data.sources.web = source("folder", crop="eyes_mouth", margin=1.2, weight=0.3)
    c.data.sources.identities = source("folder", crop="center", margin=0.8, weight=0.4)
    c.data.jitter = 0.05
    c.val.source = source("folder", crop="landmark_box", margin=1.2)
    c.val.update({"limit": 128, "batch": 16})
    c.log.update({"every": 50, "val_every": 500, "samples_every": 500})
    c.checkpoint.update({"every": 250, "keep": 2})


def _debug(c):
    c.model.update({"features": 4, "blocks": 1, "kernel": 3, "skip": "bicubic"})
    c.disc.update({"widths": (4, 4, 4, 4), "hidden": 8})
    c.frozen.identity = "small_identity"
    c.data.sources = ConfigDict({"heads": source("synthetic_heads", split="train")})
    c.val.source = source("synthetic_heads", split="validation")
    common.debug(c)


VARIANTS = {
    "sr_net": _sr_net, "srgan": _srgan, "sr_ou": _sr_ou, "sr_angle": _sr_angle, "proposed": _proposed,
    "quick": _quick, "faces": _faces, "debug": _debug,
}  # fmt: skip
