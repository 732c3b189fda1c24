"""Restoring faces from Python: ``jfsr.load(path)(images)``, or ``jfsr.load(path).photo(photograph)``."""

from __future__ import annotations

import functools
import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import flax.errors
import jax
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jfsr import bundle, files, methods, photos
from jfsr import program as exported
from jfsr.data.boxes import Face
from jfsr.data.images import read_image, turned
from jfsr.frozen.trees import flatten, load_tree
from jfsr.geometry import HR_SIZE
from jfsr.photos import PhotoFace
from jfsr.training import runs

Picture = np.ndarray | Image.Image | str | os.PathLike  # an array is one picture [h, w, 3] or a stack [b, h, w, 3]
CHUNK = 16  # the most faces in one call of the compiled program
PHOTO_POSE = "lightpose"  # reads the heads of photographs
GATE = "gate-faces"  # says of the faces of photographs whether they need restoring


def load(path: os.PathLike | str, *, step: int | str = "best", check: bool = False, program: bool = False) -> Restorer:
    """Loads a trained system.

    Args:
      path: a workdir of train.py, a bundle of ``jfsr export``, or the name of one that ships with jfsr.
      step: which checkpoint of a workdir: ``'best'``, ``'last'`` or a number.
      check: also run the test vector of a bundle, and refuse if this machine computes another picture.
      program: compute by the bundle's exported program. Where it does not run (expired, of another JAX or platform, or
        absent), the parameters compute the same, and a warning says why.

    Raises:
      ValueError: no such folder, no checkpoint in it, a method that restores no faces, or a failed check.
    """
    path = runs.locate(path)
    config = runs.checked_config(path)
    variables, at = runs.load_variables(path, step=step)
    try:
        restorer = Restorer(config, variables, step=at, name=path.name, program=_program(path) if program else None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if check:
        vector = bundle.read_check(path)
        gap = float(np.max(np.abs(restorer.predict(vector["lr"]) - vector["sr"])))
        if not gap <= bundle.TOLERANCE:
            raise ValueError(
                f"{path}: the output differs by up to {gap:.3g} from the exported one (allowed: "
                f"{bundle.TOLERANCE:.2g}); use the versions of jfsr and jax that it was exported with (README.md in "
                "the bundle)"
            )
    return restorer


def _program(path: pathlib.Path) -> Callable[[Any, Any], Any] | None:
    """A bundle's exported program as a method's ``predict``; None, with a warning, where it does not run."""
    try:
        call = exported.load(path)
    except exported.ProgramError as error:
        warnings.warn(str(error), stacklevel=3)
        return None
    stored = flatten(load_tree(path / runs.PARAMS, widen=False)[0])
    types = {name: x.dtype for name, x in stored.items()}
    # `variables` are those of `stored`, in float32.
    return jax.jit(lambda variables, lr: call({k: x.astype(types[k]) for k, x in flatten(variables).items()}, lr))


class Restorer:
    """A trained super-resolution system: tiny faces in, 128×128 faces out.

    Attributes:
      name: of its folder.
      config: the run's config.
      scale: HR size divided by LR size.
      hr_size: side of a restored face; 128, unless the run's ``data.hr_size`` says otherwise.
      method: the method's name.
      step: training step of the parameters, None for a bundle.
      sha256: digest of the parameters.
    """

    def __init__(
        self,
        config: Any,
        variables: dict[str, Any],
        *,
        step: int | None = None,
        name: str = "",
        program: Callable[[Any, Any], Any] | None = None,
    ):
        method = methods.find(config.method)
        if not isinstance(method, methods.SuperResolver):
            raise ValueError(
                f"{config.method} is a frozen network: it restores no faces (its bundle goes into config.frozen)"
            )
        self.config, self.variables, self.step = config, jax.device_put(variables), step
        self.name = name or config.method
        self.method, self.scale, self.sha256 = config.method, config.scale, runs.digest(variables)
        self.hr_size = config.data.get("hr_size", HR_SIZE)
        self._predict = program or jax.jit(functools.partial(method.predict, config))
        side = self.hr_size // self.scale
        try:  # traced here, and not again when it is called
            jax.eval_shape(self._predict, self.variables, jax.ShapeDtypeStruct((1, side, side, 3), np.float32))
        except (flax.errors.FlaxError, ValueError, TypeError, KeyError, ZeroDivisionError) as error:
            reason = str(error).strip().split("\n")[0].split(" (http")[0] or repr(error)
            raise ValueError(f"these parameters do not fit their config ({reason}); export the run again") from error

    def __call__(self, images: Picture | Sequence[Picture]) -> UInt8[np.ndarray, "b 128 128 3"]:
        """Restores faces that are already cropped.

        Args:
          images: one picture or several: uint8 [h, w, 3] arrays, floats in [0, 1], Pillow images, or files. A picture
            of another size is resized to the network's low resolution by Pillow's bicubic filter (its centre square, if
            it is not square); a larger picture loses detail, and a warning says so.

        Returns:
          uint8 [b, 128, 128, 3].
        """
        return np.round(255.0 * self.predict(self.low_resolution(images))).astype(np.uint8)

    def photo(self, image: Picture, faces: Sequence[Face] | None = None) -> list[PhotoFace]:
        """Finds and restores the faces of a photograph.

        Args:
          image: one picture of any size.
          faces: where its faces are; None: found by MTCNN (extra ``detect``).

        Returns:
          The faces, the largest first where they were found. A face that has more pixels than this network can use, or
          under 6, is left alone and says so.

        Raises:
          ImportError: faces are to be found, and the package ``mtcnn`` is absent.
        """
        pixels = _as_uint8(image)
        found = photos.detector()(pixels) if faces is None else faces
        return photos.BySize([self], pose=read_pose, gate=gate()).photo(pixels, found)

    def low_resolution(self, images: Picture | Sequence[Picture]) -> Float[np.ndarray, "b h w 3"]:
        """The pictures as the network takes them: float32 [b, 128/scale, 128/scale, 3] in [0, 1]."""
        single = isinstance(images, (str, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) == 3
        several: Any = [images] if single else images
        pictures = [_as_uint8(image) for image in several]
        if not pictures:
            raise ValueError("no image given")
        side = self.hr_size // self.scale
        return np.stack([_fit(p, side) for p in pictures]).astype(np.float32) / 255.0

    def predict(self, lr: Float[np.ndarray, "b h w 3"]) -> Float[np.ndarray, "b 128 128 3"]:
        """Restores low-resolution faces in [0, 1] of exactly the network's size; float32 in [0, 1]."""
        return self.outputs(lr)["sr"] if len(lr) else np.zeros((0, self.hr_size, self.hr_size, 3), np.float32)

    def outputs(self, lr: Float[np.ndarray, "b h w 3"]) -> dict[str, Any]:
        """All outputs of the method's ``predict`` for one or more low-resolution faces of exactly the network's size.

        Returns:
          ``sr`` [b, 128, 128, 3] in [0, 1], ``stages`` (not from an exported program), and from a system that finds
          landmarks ``landmarks_px`` [b, n, 2]; see :class:`jfsr.methods.Prediction`.
        """
        side = self.hr_size // self.scale
        if lr.shape[1:] != (side, side, 3):
            raise ValueError(f"this network takes [b, {side}, {side}, 3], got {list(lr.shape)}")
        return _in_chunks(functools.partial(self._predict, self.variables), lr)

    def landmarks(self, images: Picture | Sequence[Picture], *, soft: bool = False) -> Float[np.ndarray, "b n 2"]:
        """The landmarks (x, y) of cropped faces, in pixels of the restored 128×128 face.

        There are 68, unless the system was trained on others.

        Args:
          images: as for :meth:`__call__`.
          soft: decode the heatmaps by their centre of mass instead of arg-max.

        Raises:
          ValueError: the system finds no landmarks.
        """
        outputs = self.outputs(self.low_resolution(images))
        if "landmarks_px" not in outputs:
            raise ValueError(f"this {self.method} finds no landmarks; a jasrnet with an alignment head does")
        return outputs["landmarks_soft_px" if soft else "landmarks_px"]

    def pose(self, images: UInt8[np.ndarray, "b 128 128 3"]) -> Float[np.ndarray, "b 3"]:
        """(yaw, pitch, roll) in degrees of faces, estimated by the run's frozen pose network; [b, 3].

        Raises:
          ValueError: the config names no pose network, or its weights are missing.
        """
        name = self.config.get("frozen", {}).get("pose", "")
        if not name:
            raise ValueError(f"the config of this {self.method} names no pose network (frozen.pose)")
        return read_pose(images, name)


def read_pose(images: UInt8[np.ndarray, "b 128 128 3"], network: str = PHOTO_POSE) -> Float[np.ndarray, "b 3"]:
    """(yaw, pitch, roll) in degrees of faces, [b, 3].

    Args:
      images: faces, cropped as the network expects them.
      network: of the zoo, or a folder of one; by default LightPose, which ships with jfsr and reads real faces.

    Raises:
      ValueError: its weights are missing.
    """
    net, variables, apply = _pose_network(network)
    read = lambda chunk: net.decode(apply(variables, chunk).logits)
    return _in_chunks(read, images.astype(np.float32) / 255.0)


def gate() -> Callable[[UInt8[np.ndarray, "b 128 128 3"]], Float[np.ndarray, " b"]] | None:
    """The quality gate for real faces that ships: the probability that a face was small or blurred.

    A function of faces, uint8, cropped as in its training; None if no gate ships.
    """
    return _gate() if GATE in runs.shipped() else None


@functools.cache
def _gate() -> Any:
    from jfsr.evals import gate as gates
    from jfsr.frozen import zoo

    config = runs.checked_config(GATE)
    variables, _ = runs.load_variables(GATE)
    return gates.program(config, variables, {"pose": zoo.load(config.frozen.pose)[1]})


def _in_chunks(program: Callable[[Any], Any], images: Float[np.ndarray, "b h w 3"]) -> Any:
    """What a compiled program gives for one or more images, as host arrays."""
    out = []
    for first in range(0, len(images), CHUNK):
        chunk = images[first : first + CHUNK]
        # Padded to a power of two: five programs serve every number of faces, and a single face is not padded.
        size = 1 << (len(chunk) - 1).bit_length()
        outputs = program(np.concatenate([chunk, np.repeat(chunk[-1:], size - len(chunk), axis=0)]))
        out.append(jax.tree.map(lambda x, real=len(chunk): np.asarray(x)[:real], outputs))
    return jax.tree.map(lambda *x: np.concatenate(x), *out)


@functools.cache
def _pose_network(name: str) -> tuple[Any, Any, Any]:
    from jfsr.frozen import zoo

    network, variables = zoo.load(name)
    return network, variables, jax.jit(network.apply)


def _as_uint8(image: Picture) -> np.ndarray:
    if isinstance(image, (str, os.PathLike)):
        return read_image(files.path(image), reduce=True)
    array = turned(image) if isinstance(image, Image.Image) else np.asarray(image)
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
            f"a face of {width}×{height} is reduced to {side}×{side}, the input size of this network",
            stacklevel=4,
        )
    short = min(height, width)
    x, y = (width - short) / 2, (height - short) / 2
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box=(x, y, x + short, y + short))
    return np.asarray(small)
