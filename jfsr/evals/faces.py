"""The faces that every evaluation scores: each original beside its bicubic enlargement and ours, as 8-bit images."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from jfsr import files
from jfsr.data import misalign
from jfsr.data.images import find_images, read_image
from jfsr.data.operators import OPERATORS
from jfsr.data.records import Record, Source
from jfsr.metrics import from_8bit, to_8bit

# The rows of a table that every system has: versions of the same face.
ROWS = ("original", "bicubic", "nearest", "ours")
Line = dict[str, Any]  # one line of images.csv: a face, pair or probe under one row of the table
CHUNK = 32  # faces per call of a compiled program

# What a system gives for a batch: images, or a dict with the images under 'sr' and perhaps landmarks beside them.
Predict = Callable[[dict[str, Any]], Float[np.ndarray, "b H W 3"] | dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Faces:
    """A few faces without padding: 8-bit images of one size, by row of the table, and their labels.

    Attributes:
      names: of the records.
      position: index of each face in its source.
      lr: low resolution, uint8.
      images: uint8 [n, H, W, 3] by row, see :data:`ROWS`; without 'ours' where no system is scored.
      pose_deg: true (yaw, pitch, roll), NaN = unknown.
      landmarks_px: NaN = unknown.
      visible: False = hidden or unknown.
      found_px: landmarks as the system finds them, by the name of the output; empty for one that finds none.
      components: the heatmaps of facial components that the system estimates; None for one that estimates none.
      seen: the pixels of the upright face that its misaligned low resolution shows; None where nothing is misaligned.
      box_px: the faces' boxes as the data set or a detector has them, NaN = unknown.
    """

    names: list[str]
    position: Int[np.ndarray, " n"]
    lr: UInt8[np.ndarray, "n h w 3"]
    images: dict[str, UInt8[np.ndarray, "n H W 3"]]
    pose_deg: Float[np.ndarray, "n 3"]
    landmarks_px: Float[np.ndarray, "n k 2"]
    visible: Bool[np.ndarray, "n k"]
    found_px: dict[str, Float[np.ndarray, "n _ 2"]] = dataclasses.field(default_factory=dict)
    components: Float[np.ndarray, "n m m c"] | None = None
    seen: Bool[np.ndarray, "n H W"] | None = None
    box_px: Float[np.ndarray, "n 4"] | None = None

    def lines(self, row: str, scores: Mapping[str, Any]) -> list[Line]:
        """One line per face for a row of the table: position, name, row, and its entry of each of the scores.

        Args:
          row: of the table.
          scores: arrays or lists with one entry per face, by column.
        """
        values = {key: np.asarray(x).tolist() for key, x in scores.items()}
        return [
            {"position": int(self.position[i]), "name": name, "row": row} | {key: x[i] for key, x in values.items()}
            for i, name in enumerate(self.names)
        ]


def compare(
    predict: Predict | None, batches: Iterable[dict[str, Any]], *, lr_operator: str = "pil_bicubic"
) -> Iterator[Faces]:
    """Runs a system over evaluation batches and drops their padding.

    Args:
      predict: batch, of which a system may see ``lr`` [b, h, w, 3] in [0, 1] -> [b, H, W, 3]; always called with the
        full batch. None: there is no system, the baselines stand alone.
      batches: of ``pipeline.eval_batches``.
      lr_operator: that made the low resolution; it enlarges the baseline 'bicubic' too.
    """
    for batch in batches:
        keep = np.asarray(batch["mask"])
        outputs = {} if predict is None else predict(batch)
        given = outputs if isinstance(outputs, dict) else {"sr": outputs}
        ours = {"ours": to_8bit(np.asarray(given["sr"]))[keep]} if "sr" in given else {}
        lr, hr = to_8bit(batch["lr"])[keep], to_8bit(batch["hr"])[keep]
        size = hr.shape[1]
        baselines = {
            "bicubic": OPERATORS[lr_operator].enlarge(lr, size=size),
            "nearest": enlarge(lr, size=size, by=Image.Resampling.NEAREST),
        }
        seen = None
        if "similarity" in batch:  # the baselines are told how the face was turned; the system has to find out
            similarities = np.asarray(batch["similarity"])[keep]
            seen = shown(similarities, size=size)
            back = [misalign.inverse(s) for s in similarities]
            for name, images in baselines.items():
                baselines[name] = np.stack([misalign.turn(x, s) for x, s in zip(images, back, strict=True)])
        yield Faces(
            names=[name for name, real in zip(batch["names"], keep, strict=True) if real],
            position=np.asarray(batch["position"])[keep],
            lr=lr,
            images={"original": hr, **baselines, **ours},
            pose_deg=np.asarray(batch["pose_deg"])[keep],
            landmarks_px=np.asarray(batch["landmarks_px"])[keep],
            visible=np.asarray(batch["visible"])[keep],
            found_px={k: np.asarray(x)[keep] for k, x in given.items() if k.startswith("landmarks")},
            components=np.asarray(given["components"])[keep] if np.size(given.get("components", ())) else None,
            seen=seen,
            box_px=np.asarray(batch["box_px"])[keep] if "box_px" in batch else None,
        )


def shown(similarities: Float[np.ndarray, "n 4"], *, size: int) -> Bool[np.ndarray, "n size size"]:
    """Which pixels of an upright face are still in the picture after it was misaligned.

    What left the picture is black in a baseline that turns the face back, and unknown to every system. A white picture
    turned and turned back is white exactly where both turns interpolate between pixels of the picture.
    """
    white = np.full((size, size, 3), 255, np.uint8)
    back = [misalign.turn(misalign.turn(white, s), misalign.inverse(s)) for s in similarities]
    return np.stack([image[..., 0] == 255 for image in back])


def enlarge(
    lr: UInt8[np.ndarray, "n h w 3"], *, size: int, by: Image.Resampling = Image.Resampling.BICUBIC
) -> UInt8[np.ndarray, "n H W 3"]:
    """PIL's bicubic enlargement of 8-bit faces, clipped and rounded by PIL; or that by another of its filters."""
    return np.stack([np.asarray(Image.fromarray(x).resize((size, size), by)) for x in lr])


class FromFolder:
    """Another system's results as a :data:`Predict`: 128×128 images, found by the faces' names.

    The image of ``a/b.jpg`` is ``a/b.png``, or with any other suffix, or ``b.png`` where no two faces share that name.

    Args:
      dir: the folder.

    Raises:
      ValueError: no folder; when called: a face without an image, several images for one, or one of another size.
    """

    def __init__(self, dir: os.PathLike | str):
        self.root = files.path(dir)
        if not self.root.is_dir():
            raise ValueError(f"--images={dir} is no folder; it holds one restored image for each face")
        self.files: dict[str, list[pathlib.Path]] = {}
        self.given: dict[pathlib.Path, str] = {}  # to which face
        for path in find_images(self.root).files:
            relative = path.relative_to(self.root).with_suffix("").as_posix()
            for key in dict.fromkeys((relative, path.stem)):
                self.files.setdefault(key, []).append(path)

    def __call__(self, batch: dict[str, Any]) -> Float[np.ndarray, "b 128 128 3"]:
        """The images of a batch's faces, in [0, 1]."""
        return np.stack([self._read(name, batch["hr"].shape[1]) for name in batch["names"]])

    def _found(self, name: str) -> list[pathlib.Path]:
        stem = pathlib.PurePosixPath(name).with_suffix("")
        return self.files.get(stem.as_posix()) or self.files.get(stem.name, [])

    def _read(self, name: str, size: int) -> np.ndarray:
        found = self._found(name)
        if len(found) != 1:
            why = "no image" if not found else f"{len(found)} images ({found[0]}, {found[1]}, …)"
            raise ValueError(f"{self.root}: {why} for the face {name!r}; name each after its face")
        if (other := self.given.setdefault(found[0], name)) != name:
            raise ValueError(
                f"{found[0]} would be the image of two faces, {other!r} and {name!r}; name each after its face, with "
                "its folders"
            )
        image = read_image(found[0])
        if image.shape[:2] != (size, size):
            raise ValueError(f"{found[0]} is {image.shape[1]}×{image.shape[0]}; restored faces are {size}×{size}")
        return image.astype(np.float32) / 255.0


def in_chunks(
    program: Callable[..., Any], *images: UInt8[np.ndarray, "n h w 3"], width: tuple[int, ...], chunk: int = CHUNK
) -> Float[np.ndarray, "n ..."]:
    """Runs a program on 8-bit faces, always on the same number, the last time with copies of the last face.

    So it compiles once, and what it says of a face does not depend on how many faces are given.

    Args:
      program: float32 faces in [0, 1], always ``chunk`` of them, as many arguments as ``images`` -> [chunk, *width].
      images: of one size.
      width: shape of the output for one face.
      chunk: faces at a time.
    """
    out = [np.empty((0, *width), np.float32)]
    for begin in range(0, len(images[0]), chunk):
        parts = [from_8bit(x[begin : begin + chunk]) for x in images]
        real = len(parts[0])
        full = [np.concatenate([x, np.repeat(x[-1:], chunk - real, axis=0)]) for x in parts]
        out.append(np.asarray(program(*full))[:real])
    return np.concatenate(out)


class Pick:
    """Some records of a source, by their indices, as a source."""

    def __init__(self, source: Source, indices: Sequence[int]):
        self.source, self.indices, self.name = source, indices, source.name

    def __len__(self) -> int:
        """Number of records picked."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:
        """The record of one pick."""
        return self.source[int(self.indices[index])]


def usable(source: Source, *, limit: int = 0) -> tuple[Pick, list[str]]:
    """The records of a source that can be read and cropped, and for each of the others the reason why not.

    Args:
      source: cropped faces.
      limit: only the first so many records of the source; 0 = all.

    Raises:
      ValueError: not one record is usable; says why the first one is not.
    """
    indices, reasons = [], []
    for index in range(min(limit or len(source), len(source))):
        try:
            source[index]
            indices.append(index)
        except ValueError as error:  # a picture that cannot be decoded, or a label that the crop needs and lacks
            reasons.append(str(error))
    if not indices:
        raise ValueError(f"no face of {source.name} can be scored: {reasons[0] if reasons else 'it is empty'}")
    return Pick(source, indices), reasons
