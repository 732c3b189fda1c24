"""Training an identity network, see jfsr/methods/identity.py.

Variants, joined by commas after the colon, with key=value overrides anywhere among them::

    base (default)              our small network on synthetic heads
    finetune                    FaceNet, from its published weights, on CelebA's training faces: the frozen network of
                                MSGAN's identity loss (its sec. IV-D)
    faces                       after finetune: MobileFaceNet on a folder of faces with identities
                                (data.sources.faces.dir, val.source.dir)
    debug                       anything above in seconds

Another network: finetune,model.name=NAME,warm_start.g=NAME (jfsr port --list). Its bundle (jfsr export) is a frozen
network by its folder: frozen.identity=FOLDER in a training, --identity=FOLDER in an evaluation.
"""

from ml_collections import ConfigDict

from configs import common
from configs.common import source


def get_config(arg: str = "") -> ConfigDict:
    """The run that ``arg`` describes."""
    return common.get_config(arg, base=base(), variants=VARIANTS)


def base() -> ConfigDict:
    """Our small identity network on synthetic heads: the frozen network that ships as ``small_identity``."""
    c = common.base("identity")
    c.model = ConfigDict({"name": "small_identity", "people": (504,)})
    c.warm_start = ConfigDict({"g": ""})
    c.loss = ConfigDict({"margin": 0.2, "sharpness": 24.0})
    c.optim = ConfigDict({"b1": 0.9, "b2": 0.99, "lr": 2e-3, "warmup": 0.05, "weight_decay": 0.05, "ema": 0.995})
    c.optim.head_rate = 1.0
    c.train.update({"batch": 64, "steps": 2000})
    # Degraded on the device: the pipeline gives HR faces alone.
    c.data.update({"jitter": 0.03, "degrade_on": "device"})
    c.data.sources.heads = source("synthetic_heads", split="train")
    c.val = ConfigDict({"source": source("synthetic_heads", split="validation"), "limit": 256, "batch": 256})
    c.log = ConfigDict({"every": 50, "val_every": 500, "samples_every": 500, "samples": 0})
    c.checkpoint = ConfigDict({"every": 500, "keep": 2, "best": "val/nearest_is_same", "mode": "max"})
    return c


def _finetune(c):
    c.model.update({"name": "facenet", "people": ()})  # counted in the data
    c.warm_start.g = "facenet"
    # DEVIATES: MSGAN's paper says no more of it than "we fine-tune the pre-trained FaceNet model on our training
    # dataset"; the loss, the rate, a twentieth of a training's, and the steps are ours. The centres of the people are
    # new, so they learn faster than the network.
    c.loss = ConfigDict({"margin": 0.2, "sharpness": 32.0})
    c.optim.update({"lr": 1e-4, "head_rate": 20.0, "warmup": 0.1, "weight_decay": 0.0, "ema": 0.999})
    c.train.update({"batch": 64, "steps": 10_000})
    # DEVIATES: 300W-LP, MSGAN's other training faces, does not name its people.
    c.data.sources = ConfigDict({"faces": source("celeba", split="train", crop="celeba_aligned")})
    c.val.source = source("celeba", split="validation", crop="celeba_aligned")
    c.val.update({"limit": 1024, "batch": 1024})
    c.log.update({"every": 100, "val_every": 1000})
    c.checkpoint.every = 1000


def _faces(c):
    c.model.name = c.warm_start.g = "mobilefacenet"
    # As the table folder-verification crops them.
    c.data.sources.faces = source("folder", crop="center", margin=0.86)
    c.val.source = source("folder", crop="center", margin=0.86)
    c.optim.ema = 0.99
    c.train.update({"batch": 48, "steps": 600})
    c.val.update({"limit": 512, "batch": 512})
    c.log.update({"every": 20, "val_every": 150})
    c.checkpoint.every = 150


def _debug(c):
    if c.warm_start.g:
        c.model.name = c.warm_start.g = "small_identity"
        c.data.sources = ConfigDict({"heads": source("synthetic_heads", split="tiny/train")})
        c.val.source = source("synthetic_heads", split="tiny/validation")
    common.debug(c, faces=8)


VARIANTS = {"base": lambda c: None, "finetune": _finetune, "faces": _faces, "debug": _debug}
