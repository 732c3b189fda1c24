"""Restoring faces from Python: ``jfsr.load(path)(images)``."""

from __future__ import annotations

import functools
import importlib
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from jfsr import bundle
from jfsr.data.datasets.folder import _to_rgb as to_rgb
from jfsr.data.datasets.folder import read_image
from jfsr.training import checkpoint, runs

Picture = np.ndarray | Image.Image | str | os.PathLike  # an array is one picture [h, w, 3] or a stack [b, h, w, 3]
CHUNK = 16  # faces per call of the compiled program, at most
TOLERANCE = 1 / 255  # between the outputs of two machines: one 8-bit level


def load(path: os.PathLike | str, *, step: int | str = "best", check: bool = False) -> Restorer:
    """Loads a trained system.

    Args:
      path: a workdir of train.py or a bundle of ``jfsr export``.
      step: which checkpoint of a workdir: ``'best'``, ``'last'`` or a number.
      check: also run the test vector of a bundle, and refuse if this machine gets another picture.

    Raises:
      ValueError: no such folder, no checkpoint in it, a method that restores nothing, or a check that failed.
    """
    path = pathlib.Path(path)
    config = checkpoint.read_config(path)
    variables, at = runs.load_variables(path, step=step)
    restorer = Restorer(config, variables, step=at)
    if check:
        vector = bundle.read_check(path)
        gap = float(np.max(np.abs(restorer.predict(vector["lr"]) - vector["sr"])))
        if not gap <= TOLERANCE:
            raise ValueError(
                f"{path}: the output differs by up to {gap:.3g} from the exported one (allowed: {TOLERANCE:.2g}); "
                "use the versions of jfsr and jax that it was exported with (README.md in the bundle)"
            )
    return restorer


class Restorer:
    """A trained super-resolution system: tiny faces in, 128×128 faces out.

    Attributes:
      config: the run's config.
      scale: HR over LR size.
      method: the method's name.
      step: training step of the parameters, None for a bundle.
      sha256: digest of the parameters.
    """

    def __init__(self, config: Any, variables: dict[str, Any], *, step: int | None = None):
        module = importlib.import_module(f"jfsr.methods.{config.method}")
        if not hasattr(module, "predict"):
            raise ValueError(
                f"{config.method} is a frozen network: it restores no faces (its bundle goes into config.frozen)"
            )
        self.config, self.variables, self.step = config, jax.device_put(variables), step
        self.method, self.scale, self.sha256 = config.method, config.scale, runs.digest(variables)
        self._predict = jax.jit(functools.partial(module.predict, config))

    def __call__(self, images: Picture | Sequence[Picture]) -> UInt8[np.ndarray, "b 128 128 3"]:
        """Restores faces that are cropped already.

        Args:
          images: one picture or several: uint8 [h, w, 3] arrays, floats in [0, 1], Pillow images, or files. A picture
            of another size than the network's low resolution is resized to it by Pillow's bicubic filter (its centre
            square, if it is not square); a larger one loses detail by that, which a warning says.

        Returns:
          uint8 [b, 128, 128, 3].
        """
        return np.round(255.0 * self.predict(self.low_resolution(images))).astype(np.uint8)

    def low_resolution(self, images: Picture | Sequence[Picture]) -> Float[np.ndarray, "b h w 3"]:
        """The pictures as the network takes them: float32 [b, 128/scale, 128/scale, 3] in [0, 1]."""
        single = isinstance(images, (str, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) == 3
        several: Any = [images] if single else images
        pictures = [_as_uint8(image) for image in several]
        if not pictures:
            raise ValueError("no image given")
        side = 128 // self.scale
        return np.stack([_fit(p, side) for p in pictures]).astype(np.float32) / 255.0

    def predict(self, lr: Float[np.ndarray, "b h w 3"]) -> Float[np.ndarray, "b 128 128 3"]:
        """Restores low-resolution faces in [0, 1] of exactly the network's size; float32 in [0, 1]."""
        return self.outputs(lr)["sr"] if len(lr) else np.zeros((0, 128, 128, 3), np.float32)

    def outputs(self, lr: Float[np.ndarray, "b h w 3"]) -> dict[str, Any]:
        """All that the method's ``predict`` gives for at least one low-resolution face of exactly the network's size.

        Returns:
          ``sr`` [b, 128, 128, 3] in [0, 1], ``stages``, and of a system that aligns ``landmarks_px`` [b, 68, 2].
        """
        side, out = 128 // self.scale, []
        if lr.shape[1:] != (side, side, 3):
            raise ValueError(f"this network takes [b, {side}, {side}, 3], got {list(lr.shape)}")
        for begin in range(0, len(lr), CHUNK):
            part = lr[begin : begin + CHUNK]
            # Padded to a power of two: five programs serve every number of faces, and one face costs one face.
            size = 1 << (len(part) - 1).bit_length()
            full = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            given = self._predict(self.variables, full)
            out.append(jax.tree.map(lambda x, real=len(part): np.asarray(x)[:real], given))
        return jax.tree.map(lambda *x: np.concatenate(x), *out)

    def landmarks(self, images: Picture | Sequence[Picture], *, soft: bool = False) -> Float[np.ndarray, "b 68 2"]:
        """The 68 landmarks (x, y) of cropped faces, in pixels of the restored 128×128 face.

        Args:
          images: as for restoring.
          soft: decode the heatmaps by their centre of mass rather than by arg-max.

        Raises:
          ValueError: the system finds no landmarks.
        """
        found = self.outputs(self.low_resolution(images))
        if "landmarks_px" not in found:
            raise ValueError(f"this {self.method} finds no landmarks; a jasrnet with an alignment head does")
        return found["landmarks_soft_px" if soft else "landmarks_px"]

    def pose(self, images: UInt8[np.ndarray, "b 128 128 3"]) -> Float[np.ndarray, "b 3"]:
        """(yaw, pitch, roll) in degrees that the run's frozen pose network reads off faces; [b, 3].

        Raises:
          ValueError: the config names no pose network, or its weights are absent.
        """
        name = self.config.get("frozen", {}).get("pose", "")
        if not name:
            raise ValueError(f"the config of this {self.method} names no pose network (frozen.pose)")
        network, variables, read = _pose_reader(name)
        return np.asarray(network.decode(read(variables, images.astype(np.float32) / 255.0).logits))


@functools.cache
def _pose_reader(name: str) -> tuple[Any, Any, Any]:
    from jfsr.frozen import zoo

    network, variables = zoo.load(name)
    return network, variables, jax.jit(network.apply)


def _as_uint8(image: Picture) -> np.ndarray:
    if isinstance(image, (str, os.PathLike)):
        return read_image(pathlib.Path(image))
    array = to_rgb(ImageOps.exif_transpose(image)) if isinstance(image, Image.Image) else np.asarray(image)
    if array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        raise ValueError(f"an image is [h, w, 3] RGB, got {list(array.shape)}")
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating) or not np.all((array >= 0) & (array <= 1)):
        raise ValueError(
            f"an image is uint8, or float in [0, 1]; got {array.dtype} from {array.min()} to {array.max()}"
        )
    return np.round(255.0 * array).astype(np.uint8)


def _fit(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    if (height, width) == (side, side):
        return image
    if min(height, width) > side:
        warnings.warn(
            f"a face of {width}×{height} is reduced to {side}×{side}, the resolution that this network starts from",
            stacklevel=4,
        )
    short = min(height, width)
    x, y = (width - short) / 2, (height - short) / 2
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box=(x, y, x + short, y + short))
    return np.asarray(small)
