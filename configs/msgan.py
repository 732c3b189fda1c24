"""MSGAN (Malakshan et al., 2022), see jfsr/methods/msgan.py and configs/README.md for commands and results.

Variants, joined by commas after the colon, with key=value overrides anywhere among them::

    x8 (default) | x16 | x4     16×16, 8×8 or 32×32 faces to 128×128; the last is not in the paper
    hr256                       faces of 256×256, from 32×32 at ×8
    generator | msgan | msgan_pa | joint (default)    the rows of Table 4
    bicubic                     clean bicubic low resolution instead of the paper's degradation
    scaled                      the paper's degradation with blurs scaled to the small image, and a share of clean faces
    device                      degrade on the accelerator instead of in tf.data
    paper                       300W-LP and CelebA, as 'jfsr data build' leaves them, instead of synthetic heads
    quick                       small networks, synthetic heads, our own frozen networks: minutes on two CPU cores
    faces                       reduced networks on a folder of real faces (data.sources.*.dir)
    shipped                     'faces' in the shape, crops and losses of the models that ship, at any scale
    debug                       anything above in seconds
"""

from ml_collections import ConfigDict

from configs import common
from configs.common import source


def get_config(arg: str = "") -> ConfigDict:
    """The run that ``arg`` describes."""
    return common.get_config(arg, base=base(), variants=VARIANTS)


def base() -> ConfigDict:
    """The paper's ×8 run. DEVIATES lines mark what the paper does not say."""
    c = common.base("msgan")
    c.scale = 8

    c.model = ConfigDict({"features": 64, "growth": 32, "blocks": (23, 23), "widths": (), "skip": "none"})
    c.model.update({"remat": False, "dtype": "float32"})
    # D_r's BatchNorm sees HR and SR features in one call ('joint'); in two ('apart') it hides every shift and scale.
    c.disc = ConfigDict({"widths": (64, 128, 256, 512), "feature_norm": "joint"})
    # PatchGAN: pix2pix's strides, a field of 70 px, where the image is large enough. DEVIATES: the paper does not say.
    c.disc.strides = ConfigDict(
        {"r16": (2, 1, 1, 1, 1), "r32": (2, 2, 1, 1, 1), **dict.fromkeys(("r64", "r128", "r256"), (2, 2, 2, 1, 1))}
    )

    c.loss = ConfigDict({"adversarial": "bce", "perceptual_stages": (128,), "norm_momentum": 0.01})
    c.loss.norm_clip = "none"  # (7) has no clip; 'soft' and 'hard' (AdaFace's): see losses.norm_gap
    # Networks and discriminators see SR clipped to [0, 1], with the gradient of the unclipped: as it is stored and
    # scored. DEVIATES: the paper does not say what they see.
    c.loss.clip_sr = True
    # L1 of stage one: "training the stand-alone generator using L_1 reconstruction loss" (IV-D). The "stand-alone
    # generator" of Table 4 comes before "adding L_l1 at other stages" (IV-G4): so it is the last stage's alone.
    c.loss.stage_one = "last"
    # Of L_est: 'reading' = of the pose network on HR, 'label_or_reading' where no label is.
    c.loss.pose_target = "label"
    # DEVIATES: the paper lists four stages for ×16 only; alpha goes by resolution.
    c.stage_weights = ConfigDict({"r16": 0.001, "r32": 0.005, "r64": 0.01, "r128": 1.0, "r256": 1.0})
    c.weights = ConfigDict({"pixel": 1.0, "adv": 0.01, "perceptual": 0.001, "identity": 0.1})  # (15)
    # gamma_pa, gamma_est, gamma_sim and gamma_m of (11); then the squared error in (5), and gamma_p of (15)
    c.weights.update({"pose_adv": 0.1, "pose_est": 1.0, "pose_angle": 0.2, "pose_norm": 0.01})
    c.weights.update({"pose_mse": 0.01, "pose": 1.0})
    c.frozen = ConfigDict({"pose": "hopenet", "identity": "facenet", "perceptual": "lpips_alex"})
    # The generator's first parameters: '' = random, 'rrdb' = ESRGAN's body in both halves, or a workdir or bundle of
    # ours, e.g. of stage one. DEVIATES: the paper does not say what it starts from.
    c.warm_start = ConfigDict({"g": ""})

    # DEVIATES: optimizer, rates, batch and lengths are ours, the paper is silent. train.batch counts the faces of a
    # step on all devices together: it decides which faces a step has, so a run can resume on other devices.
    c.optim = ConfigDict({"b1": 0.9, "b2": 0.99, "lr_pixel": 2e-4, "lr_joint": 1e-4, "lr_d": 1.0})
    c.optim.update({"drops": (0.5, 0.75, 0.9), "drop": 0.5, "ema": 0.999})
    c.train.update({"batch": 16, "pixel_steps": 200_000, "joint_steps": 200_000})

    c.data.degradation = "paper"
    c.data.sources.heads = source("synthetic_heads", split="train")
    c.val = ConfigDict({"source": source("synthetic_heads", split="validation"), "limit": 128, "batch": 16})

    c.log = ConfigDict({"every": 100, "val_every": 2000, "samples_every": 2000, "samples": 6})
    # Stage two trades PSNR for pose (Table 4): by PSNR, the best checkpoint would be the end of stage one.
    c.checkpoint = ConfigDict({"every": 2000, "keep": 3, "best": "val/pose_mae_deg", "mode": "min"})
    return c


def _x8(c):
    c.scale = 8


def _x16(c):
    c.scale = 16


def _x4(c):
    c.scale = 4


def _hr256(c):
    c.data.hr_size = 256
    c.loss.perceptual_stages = (256,)
    c.stage_weights.update({"r16": 0.0, "r32": 0.001, "r64": 0.005, "r128": 0.01})


def _generator(c):
    # Table 4's "stand-alone generator just using L_l1": the last stage's, with the steps and rates of the other rows.
    c.weights.update({"adv": 0.0, "perceptual": 0.0, "identity": 0.0, "pose": 0.0})
    last = f"r{c.data.hr_size}"
    c.stage_weights.update({r: 0.0 for r in c.stage_weights if r != last})
    c.checkpoint.update({"best": "val/psnr", "mode": "max"})


def _msgan(c):
    c.weights.pose = 0.0
    c.checkpoint.update({"best": "val/psnr", "mode": "max"})


def _msgan_pa(c):
    c.weights.update({"pose_est": 0.0, "pose_angle": 0.0, "pose_norm": 0.0})


def _joint(c):
    pass


def _bicubic(c):
    c.data.degradation = "bicubic"


def _scaled(c):
    c.data.update({"degradation": "scaled", "clean_share": 0.25})


def _device(c):
    c.data.degrade_on = "device"


def _paper(c):
    # The paper's training faces, as `jfsr data build 300w_lp` and `… celeba` leave them.
    # DEVIATES: the paper does not say how the two sets are mixed, nor how CelebA is cropped.
    c.data.sources = ConfigDict()
    c.data.sources.pose = source("300w_lp", split="train", crop="hopenet_300wlp", margin=0.0, weight=0.5)
    c.data.sources.celeba = source("celeba", split="train", crop="celeba_aligned", weight=0.5)
    # No set with poses is left to choose a checkpoint by but those of the tables: the tables take --step=last.
    c.val.source = source("celeba", split="validation", crop="celeba_aligned")
    c.checkpoint.update({"best": "val/psnr", "mode": "max"})


def _quick(c):
    # Small enough for two CPU cores; the residual over bicubic makes the first steps useful.
    c.model.update({"features": 32, "growth": 16, "blocks": (2, 2), "skip": "bicubic"})
    c.disc.widths = (16, 32, 64, 128)
    c.frozen.update({"pose": "small_pose", "identity": "small_identity", "perceptual": ""})
    # The paper's weights are for 200,000 steps: in a hundred, pose_est would swamp L1 (measured: 0.8 dB for 0.07°).
    c.weights.update({"perceptual": 0.0, "pose": 0.01, "adv": 0.002})
    c.optim.update({"lr_pixel": 1e-3, "lr_joint": 6e-4})
    c.train.update({"batch": 8, "pixel_steps": 180, "joint_steps": 120})
    c.data.degradation = "bicubic"
    c.log.update({"every": 25, "val_every": 150, "samples_every": 150})
    c.checkpoint.update({"every": 150, "keep": 2})


def _faces(c):
    # Real faces; folders are the user's: --config=configs/msgan.py:faces,data.sources.landmarks.dir=…
    c.model.update({"features": 48, "growth": 24, "blocks": (3, 3), "skip": "bicubic"})
    c.disc.widths = (32, 64, 128, 256)
    c.frozen.update({"pose": "lightpose", "identity": "mobilefacenet", "perceptual": ""})
    # These faces have no poses: L_est has no target but what the pose network reads (loss.pose_target).
    c.weights.update({"perceptual": 0.0, "adv": 0.003, "pose_est": 0.0})
    c.optim.update({"lr_pixel": 5e-4, "lr_joint": 3e-4})
    c.train.update({"batch": 8, "pixel_steps": 1400, "joint_steps": 500})
    c.data.degradation = "bicubic"
    c.data.sources = ConfigDict()
    c.data.sources.landmarks = source("folder", crop="landmark_box", margin=1.2, weight=0.4)
    c.data.sources.web = source("folder", crop="eyes_mouth", margin=1.2, weight=0.4)
    c.data.sources.identities = source("folder", crop="center", margin=0.86, weight=0.2)
    c.data.jitter = 0.05
    c.val.source = source("folder", crop="landmark_box", margin=1.2)
    c.log.update({"every": 50, "val_every": 500, "samples_every": 500})
    c.checkpoint.update({"every": 250, "keep": 2, "best": "val/psnr", "mode": "max"})


def _shipped(c):
    # Tapered, as most of the cost is where images are large. No image discriminators: on two cores a step with them
    # takes 10 s instead of 3.6.
    _faces(c)
    c.model.update(SHAPES[c.scale])
    c.loss.update({"stage_one": "all", "pose_target": "label_or_reading"})
    c.weights.update({"adv": 0.0, "pose_est": 0.01})
    c.optim.update({"lr_joint": 5e-4, "ema": 0.998})
    c.train.update({"batch": 16, "pixel_steps": 500, "joint_steps": 2000})
    # HopeNet's crop, which pose tables use, is wider than the landmarks' box of 1.2.
    c.data.sources.landmarks.weight = 0.3
    c.data.sources.wide = source("folder", crop="landmark_box", margin=1.5, weight=0.25)
    c.data.sources.web.weight = 0.25
    c.data.sources.identities.weight = 0.2
    c.log.update({"every": 25, "val_every": 250, "samples_every": 250})
    c.checkpoint.update({"every": 50, "best": "val/pose_mae_deg", "mode": "min"})


# Each under 60 ms a face on two cores and under 8 MB in float16.
SHAPES = {
    4: {"features": 48, "growth": 24, "blocks": (3, 1), "widths": (24, 12)},
    8: {"features": 64, "growth": 32, "blocks": (4, 2), "widths": (48, 24, 12)},
    16: {"features": 64, "growth": 32, "blocks": (4, 2), "widths": (64, 48, 24, 12)},
}


def _debug(c):
    c.model.update({"features": 8, "growth": 4, "blocks": (1, 1), "skip": "bicubic"})
    c.disc.widths = (4, 8, 8, 8)
    c.frozen.update({"pose": "small_pose", "identity": "small_identity", "perceptual": ""})
    c.weights.perceptual = 0.0
    common.debug(c)


VARIANTS = {
    "x8": _x8, "x16": _x16, "x4": _x4, "hr256": _hr256,
    "generator": _generator, "msgan": _msgan, "msgan_pa": _msgan_pa, "joint": _joint,
    "bicubic": _bicubic, "scaled": _scaled, "device": _device, "paper": _paper,
    "quick": _quick, "faces": _faces, "shipped": _shipped, "debug": _debug,
}  # fmt: skip
