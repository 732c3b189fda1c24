"""Looks at packed faces: which record each position of a training shows, where it is cut, and whether it is mirrored.

Computed for thousands of positions at once, from the same random numbers as :meth:`jfsr.data.mixture.Mixture.record`:
so a packed run shows the crops that the plain path shows. The pixels are read elsewhere (:mod:`jfsr.data.packed_tf`).
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from jfsr.data import crops, packed
from jfsr.data.mixture import Mixture
from jfsr.data.packed import Pack

# The columns of a look: the source, the record's row, and 1 where it is mirrored. Of windows also: 1 where Pillow takes
# the vertical pass first; and (x, y) of the crop's corner in the picture and of the ratio of the face's pixels to the
# picture's, for landmarks; and, in the record's pixels, where the part begins that the resize reads and how long it is,
# and the crop's corner and step (side / size) in that part, as Pillow computes with them.
_AXES = ("origin", "ratio", "begin", "length", "first", "step")
COLUMNS = ("source", "row", "flip", "vertical", *(f"{a}_{b}" for a in _AXES for b in ("x", "y")))


@dataclasses.dataclass(frozen=True)
class Looks:
    """The looks of a run.

    Attributes:
      mixture: which face is at which position.
      packs: of its sources, in their order.
    """

    mixture: Mixture
    packs: list[Pack]

    def at(self, positions: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
        """The looks at ascending positions, float64 with a column for each of ``COLUMNS``; whole numbers are exact."""
        first, last = int(positions[0]), int(positions[-1])
        sources, indices = (found[positions - first] for found in self.mixture.locate_all(first, last - first + 1))
        k = np.array([crops.drawn(source.rule, source.margin) for source in self.mixture.sources])
        jitters = self.mixture.jitter > 0
        numbers = self.mixture.draws(positions, numbers=int(k.max()) + 3 * jitters + 1)
        out = np.zeros((len(positions), len(COLUMNS)))
        out[:, 0] = sources
        for which, pack in enumerate(self.packs):
            mine = np.flatnonzero(sources == which)
            rows = pack.row[indices[mine]]
            drawn = iter(numbers[mine].T)  # in the order in which the plain path draws
            cut = _cut(pack, rows, self._squares(pack, rows, drawn)) if pack.windows else []
            out[mine, 1 : 3 + len(cut)] = np.stack([rows, next(drawn) < self.mixture.flip, *cut], -1)
        return out

    def _squares(self, pack, rows, drawn):
        """The squares of the looks in their pictures, jittered as ``crops.crop_record`` does."""
        if "bounds" in pack.cuts:
            low, high = crops.DRAWN
            squares = packed.hopenet_squares(pack.cuts["bounds"][rows], low + (high - low) * next(drawn))
        else:
            squares = pack.cuts["square"][rows]
        x0, y0, side = squares.T
        if self.mixture.jitter:
            shrink, dx, dy = next(drawn), next(drawn), next(drawn)
            slack = 2.0 * self.mixture.jitter * shrink * side
            x0, y0, side = x0 + dx * slack, y0 + dy * slack, side - slack
        return x0, y0, side


def _cut(pack: Pack, rows: np.ndarray, squares: tuple[np.ndarray, np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """The columns from ``vertical`` on: what ``crops.cut`` computes for one picture, in the record's pixels."""
    x0, y0, side = squares
    factor, size = pack.cuts["factor"][rows], pack.size
    columns: dict[str, list[np.ndarray]] = {"begin": [], "length": [], "first": [], "step": []}
    for axis, corner in enumerate((x0, y0)):
        low = (corner - pack.cuts["shift"][rows, axis]) * factor
        high, length = low + side * factor, pack.cuts["length"][rows, axis]
        reach = np.ceil(2 * np.maximum(1.0, side * factor / size)) + 1
        begin, end = np.floor(low) - reach, np.ceil(high) + reach
        begin = np.where((low < 0) & (factor == 1), begin, np.maximum(begin, 0))
        end = np.where((high > length) & (factor == 1), end, np.minimum(end, length))
        # Pillow takes the box in float32, and its width too.
        first, last = ((v).astype(np.float32) for v in (low - begin, low - begin + side * factor))
        columns["begin"].append(begin - pack.cuts["corner"][rows, axis])
        columns["length"].append(end - begin)
        columns["first"].append(first)
        columns["step"].append((last - first).astype(np.float64) / size)
    width, height = columns["length"]
    vertical = vertical_first() & (height > size) & (height - size > 2 * (width - size))
    return [vertical, x0, y0, size / side, size / side, *(column for both in columns.values() for column in both)]


@functools.cache
def vertical_first() -> bool:
    """Whether this Pillow begins with the vertical pass where that removes more than twice the horizontal one's pixels.

    Pillow 13 does (python-pillow/Pillow#9549); the two orders round differently.
    """
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 34), np.uint8))
    horizontal_first = noise.resize((32, 64), Image.Resampling.BICUBIC).resize((32, 32), Image.Resampling.BICUBIC)
    at_once = noise.resize((32, 32), Image.Resampling.BICUBIC)
    return not np.array_equal(np.asarray(at_once), np.asarray(horizontal_first))
