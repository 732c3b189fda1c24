"""What the configs share: how one is made from the command line, and the blocks that all of them have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from jfsr.config import parse
from jfsr.geometry import HR_SIZE
from jfsr.training.schema import run_schema


def get_config(arg: str, *, base: ConfigDict, variants: Mapping[str, Callable[[ConfigDict], None]]) -> ConfigDict:
    """The run that ``arg`` describes: ``base`` changed by variants and key=value overrides, all checked."""
    return parse(arg, base=base, variants=variants, schema=run_schema(base.method))


def base(method: str) -> ConfigDict:
    """What every run has in common; the file of the method adds to it."""
    c = ConfigDict({"method": method, "seed": 0, "parallel": "pmap"})
    # Every method sets train.batch, the faces of a step on all devices together (train.py says how many each one gets).
    c.train = ConfigDict({"guard": True, "max_bad_run": 20})
    c.data = ConfigDict({"flip": 0.5, "jitter": 0.0, "hr_size": HR_SIZE, "shuffle": True, "degrade_on": "host"})
    # What lr is: 'bicubic', the clean one; 'paper', MSGAN's degradation; 'scaled', the same with blurs after the
    # down-sampling that have the scale of the small image. Of the last two, clean_share is the share of clean images.
    c.data.update({"degradation": "bicubic", "clean_share": 0.0})
    # Where faces are read from: 'files', Python crops one at every look; 'packed', they are cropped once and read by
    # tf.data's own threads: the same batches, faster. A run that rotates or misaligns faces takes 'files'.
    c.data.where = "files"
    c.data.sources = ConfigDict()
    c.val = ConfigDict()
    return c


def source(
    dataset: str, *, dir: str = "", split: str = "", crop: str = "none", margin: float = 1.0, weight: float = 1.0
) -> ConfigDict:
    """One source of faces; its folder, if it needs one, is the user's."""
    return ConfigDict(
        {"dataset": dataset, "dir": dir, "split": split, "crop": crop, "margin": margin, "weight": weight}
    )


def debug(c: ConfigDict, *, faces: int = 4) -> None:
    """Cuts a run down to two steps of four faces for each of its stages, validated and saved at once."""
    c.train.batch = 4
    for steps in ("steps", "pixel_steps", "joint_steps"):
        if c.train.get(steps):
            c.train[steps] = 2
    c.val.update({"limit": faces, "batch": faces})
    c.log.update({"every": 1, "val_every": 2})
    if c.log.samples:
        c.log.update({"samples_every": 2, "samples": 2})
    c.checkpoint.update({"every": 2, "keep": 2})
