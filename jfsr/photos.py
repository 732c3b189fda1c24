"""Faces of photographs: found, restored by the network that fits their size, and their poses read.

A face has a **native size**: how many pixels of the photograph its square has. Of several networks it goes to the one
whose input is nearest to that; it is left alone where every network would throw away detail that it has, or where
there is nothing to go by. Many photographs share the batches of the networks.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jfsr import geometry, metrics
from jfsr.data import detection, photos
from jfsr.data.boxes import Face
from jfsr.data.detection import Detect
from jfsr.data.photos import Square
from jfsr.data.records import BadRecord
from jfsr.training import runs

# A face of up to this many times a network's input is still restored by it: at 1.75, 28 px go into 16, and what the
# network adds outweighs what the reduction takes.
REACH = 1.75
PENDING = 16  # photographs, or twice as many faces, that are restored together

Name = TypeVar("Name")
Decide = Callable[[UInt8[np.ndarray, "b 128 128 3"]], Float[np.ndarray, " b"]]
ReadPose = Callable[[UInt8[np.ndarray, "b 128 128 3"]], Float[np.ndarray, "b 3"]]


@runtime_checkable
class Network(Protocol):
    """What :class:`BySize` asks of a restorer (:class:`jfsr.api.Restorer`)."""

    name: str
    hr_size: int
    scale: int

    def predict(self, lr: Float[np.ndarray, "b h w 3"]) -> Float[np.ndarray, "b 128 128 3"]:
        """Restores faces of exactly its input size, in [0, 1]."""
        ...


@dataclasses.dataclass(frozen=True)
class PhotoFace:
    """One face of a photograph.

    Attributes:
      box_px: (x0, y0, x1, y1) in pixel edges of the photograph, as the detector or the user gave it.
      score: of the detector, 0 to 1; NaN for a box of the user's.
      square: what was cut out.
      model: the network that restored it; '' if it was left alone.
      why: why it was left alone; '' if it was not.
      original: the square as it is, enlarged or reduced by Pillow's bicubic filter; uint8 [128, 128, 3].
      image: the restored face; ``original`` if it was left alone.
      needs_sr: the quality gate's probability that ``original`` was small or blurred; NaN without a gate. It is said,
        and decides nothing: the size does.
      pose_before, pose_deg: (yaw, pitch, roll) read off ``original`` and off ``image``; NaN without a pose network.
    """

    box_px: Float[np.ndarray, "4"]
    score: float
    square: Square
    model: str
    why: str
    original: UInt8[np.ndarray, "s s 3"]
    image: UInt8[np.ndarray, "s s 3"]
    pose_before: Float[np.ndarray, "3"]
    pose_deg: Float[np.ndarray, "3"]
    needs_sr: float = math.nan

    @property
    def native_px(self) -> float:
        """Side of the square in the photograph."""
        return self.square.side

    @property
    def change_deg(self) -> float:
        """The angle between the two poses."""
        return float(geometry.geodesic_deg(jnp.asarray(self.pose_before), jnp.asarray(self.pose_deg)))


def models(checkpoint: str = "") -> list[str]:
    """What restores the faces of photographs: the run that is named, or all that ship; ValueError if there is none."""
    names = [checkpoint] if checkpoint else [name for name in runs.shipped() if name.startswith("msgan")]
    if not names:
        raise ValueError("no model ships with this jfsr; give one: --checkpoint DIR")
    return names


class BySize:
    """Restores the faces of photographs by the network that fits each face's size.

    Args:
      networks: restorers, one or several.
      pose: reads (yaw, pitch, roll) in degrees off uint8 faces, see :func:`jfsr.api.read_pose`; None = no poses.
      gate: the probability that a face needs restoring, see :func:`jfsr.api.gate`; None = none.
    """

    def __init__(self, networks: Sequence[Network], *, pose: ReadPose | None, gate: Decide | None = None):
        self.networks = sorted(networks, key=_input_px)
        self.read_pose, self.gate = pose, gate
        if not networks:
            raise ValueError("no network to restore faces by")
        if len(sizes := {n.hr_size for n in networks}) > 1:
            raise ValueError(f"the networks give faces of {' and '.join(map(str, sorted(sizes)))} px; use one size")

    def choose(self, native_px: float) -> tuple[Network | None, str]:
        """The network for a face of this native size, or None and why."""
        if native_px < photos.MIN_NATIVE_PX:
            return None, f"too small: under {photos.MIN_NATIVE_PX} px"
        largest = _input_px(self.networks[-1])
        if native_px > REACH * largest:
            return None, f"large enough: {native_px:.0f} px, and the networks take {largest}"
        return min(self.networks, key=lambda network: abs(math.log(_input_px(network) / native_px))), ""

    def photo(self, photo: UInt8[np.ndarray, "h w 3"], faces: Sequence[Face]) -> list[PhotoFace]:
        """The faces of one photograph, in the order given; those whose square is none are left out."""
        return next(self.photos([(None, photo, faces)]))[2]

    def photos(
        self, items: Iterable[tuple[Name, UInt8[np.ndarray, "h w 3"], Sequence[Face]]]
    ) -> Iterator[tuple[Name, UInt8[np.ndarray, "h w 3"], list[PhotoFace]]]:
        """The same for many photographs, in their order; a few are in memory at a time."""
        pending: list[tuple[Name, Any, Sequence[Face]]] = []
        for item in items:
            pending.append(item)
            if len(pending) >= PENDING or sum(len(faces) for *_, faces in pending) >= 2 * PENDING:
                yield from self._restored(pending)
                pending = []
        yield from self._restored(pending)

    def _restored(self, pending: list[tuple[Name, Any, Sequence[Face]]]) -> list[tuple[Name, Any, list[PhotoFace]]]:
        owners: list[int] = []  # the number of each face's photograph
        faces: list[PhotoFace] = []
        for owner, (_, photo, boxes) in enumerate(pending):
            for box in boxes:
                try:
                    faces.append(self._cut(photo, box))
                except BadRecord:
                    continue
                owners.append(owner)
        for network in self.networks:
            mine = [k for k, face in enumerate(faces) if face.model == network.name]
            if mine:
                lr = [photos.cut(pending[owners[k]][1], faces[k].square, _input_px(network)) for k in mine]
                restored = metrics.to_8bit(network.predict(np.stack(lr).astype(np.float32) / 255.0))
                for k, image in zip(mine, restored, strict=True):
                    faces[k] = dataclasses.replace(faces[k], image=in_colour(image, faces[k].original))
        if self.gate and faces:
            needs = self.gate(np.stack([face.original for face in faces]))
            faces = [dataclasses.replace(face, needs_sr=float(p)) for face, p in zip(faces, needs, strict=True)]
        if self.read_pose and faces:
            before = self.read_pose(np.stack([face.original for face in faces]))
            after = self.read_pose(np.stack([face.image for face in faces]))
            faces = [
                dataclasses.replace(face, pose_before=was, pose_deg=now)
                for face, was, now in zip(faces, before, after, strict=True)
            ]
        of = lambda number: [face for face, owner in zip(faces, owners, strict=True) if owner == number]
        return [(name, photo, of(number)) for number, (name, photo, _) in enumerate(pending)]

    def _cut(self, photo: UInt8[np.ndarray, "h w 3"], face: Face) -> PhotoFace:
        """A face before it is restored; BadRecord if its square is none."""
        place = photos.square(photo, face)
        network, why = self.choose(place.side)
        original = photos.cut(photo, place, self.networks[0].hr_size)
        name, unknown = network.name if network else "", np.full(3, np.nan, np.float32)
        return PhotoFace(face.box_px, face.score, place, name, why, original, original, unknown, unknown)


def _input_px(network: Network) -> int:
    return network.hr_size // network.scale


def in_colour(face: UInt8[np.ndarray, "s s 3"], original: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """The restored face with the mean colour of the original, so that it sits in its photograph without a seam."""
    shift = original.reshape(-1, 3).mean(0) - face.reshape(-1, 3).mean(0)
    return np.clip(np.round(face + shift), 0, 255).astype(np.uint8)


# ---- Back into the photograph

FEATHER = 0.12  # of the square's side: how wide the soft edge of a pasted face is
MAX_SIDE_PX = 4096  # of a photograph that is enlarged for its restored faces


def enlargement(photo: UInt8[np.ndarray, "h w 3"], faces: Sequence[PhotoFace]) -> int:
    """The whole factor by which a photograph must grow for its smallest restored face to keep its pixels.

    It is at least 1, and no photograph gets a side of more than ``MAX_SIDE_PX`` by it.
    """
    sides = [face.image.shape[0] / face.native_px for face in faces if face.model]
    most = max(1, MAX_SIDE_PX // max(photo.shape[:2]))
    return min(most, max(1, math.ceil(max(sides, default=1.0) - 0.01)))


def pasted(
    photo: UInt8[np.ndarray, "h w 3"], faces: Sequence[PhotoFace], *, enlarge: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    """The photograph, enlarged by Pillow's bicubic filter, with its restored faces in their places.

    Their edges are feathered; of overlapping faces the smaller lies on top. Faces that were left alone stay.
    """
    size = photo.shape[1] * enlarge, photo.shape[0] * enlarge
    canvas = Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC)
    for face in sorted((face for face in faces if face.model), key=lambda face: -face.native_px):
        x0, y0, side = (v * enlarge for v in face.square)
        left, top = math.floor(x0), math.floor(y0)
        width, height = math.ceil(x0 + side) - left, math.ceil(y0 + side) - top
        # The square's corner lies between the canvas's pixels: these are sampled where they fall on the face, which is
        # continued a little beyond its edges for that.
        ratio = face.image.shape[0] / side
        more = math.ceil(ratio) + 1
        x, y = more + (left - x0) * ratio, more + (top - y0) * ratio
        sample = lambda image, size=(width, height), box=(x, y, x + width * ratio, y + height * ratio): Image.fromarray(
            image
        ).resize(size, Image.Resampling.BICUBIC, box=box)
        part = sample(np.pad(face.image, ((more, more), (more, more), (0, 0)), mode="edge"))
        mask = sample(np.pad(_mask(face.image.shape[0]), more))
        canvas.paste(part, (left, top), mask)
    return np.asarray(canvas)


def _mask(side: int) -> UInt8[np.ndarray, "s s"]:
    """255 inside a square, falling to 0 at its edges as a raised cosine."""
    distance = (np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5) / (FEATHER * side)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.clip(distance, 0, 1))
    return np.round(255 * np.outer(ramp, ramp)).astype(np.uint8)


# ---- The detector


@functools.cache
def _mtcnn() -> Detect:
    """MTCNN, made once; one call at a time, since its Keras models are shared by all threads."""
    detect, lock = detection.load_mtcnn(), threading.Lock()

    def alone(picture: UInt8[np.ndarray, "h w 3"]) -> Sequence[Face]:
        with lock:
            return detect(picture)

    return alone


def detector(**options: float) -> Callable[[UInt8[np.ndarray, "h w 3"]], list[Face]]:
    """A function that finds the faces of a photograph by MTCNN.

    Args:
      options: of :func:`jfsr.data.photos.find`.

    Raises:
      ImportError: the package ``mtcnn`` is absent.
    """
    detect = _mtcnn()
    return lambda photo: photos.find(photo, detect, **options)
