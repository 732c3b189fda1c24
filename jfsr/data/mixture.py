"""Which face stands at each position of a training, and its crop and flip: a pure function of (seed, position).

:class:`Mixture` answers for one position with the record itself, read, cropped and mirrored: the slow reference, which
takes any source. It also answers for many positions at once, without reading a face (:meth:`Mixture.locate_all`,
:meth:`Mixture.draws`): what the fast paths need. Both draw the same numbers.
"""

from __future__ import annotations

import functools

import numpy as np
from absl import logging
from jaxtyping import Float, Int

from jfsr.data import misalign, records
from jfsr.data.crops import Cropped
from jfsr.data.records import BadRecord, Record

IDENTITIES = 2**24  # identity numbers reserved for each source, so that no two sources share one
BLOCK = 120  # about so many positions form a block, in which each source has its share by weight


class Mixture:
    """The record at a position: sources are mixed by weight, each in a new random order every epoch.

    Positions form blocks of about ``BLOCK``. Every block has the same number of positions for each source, its weight's
    share, in random order. So the rank of a position within its source, and with it the record, is known without
    replaying earlier positions.
    """

    def __init__(
        self,
        sources: dict[str, Cropped],
        weights: dict[str, float],
        *,
        seed: int,
        shuffle: bool,
        flip: float,
        jitter: float,
        rotate_deg: float = 0.0,
    ):
        self.sources = list(sources.values())
        self.seed, self.shuffle = seed, shuffle
        self.flip, self.jitter, self.rotate_deg = flip, jitter, rotate_deg
        for name, source in sources.items():
            if not len(source):
                raise ValueError(f"the source data.sources.{name} is empty")
        counts = {name: source.landmarks for name, source in sources.items()}
        if len(set(counts.values())) > 1:
            each = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ValueError(
                f"the faces of data.sources have different numbers of landmarks: {each}; train on one kind"
            )
        self.landmarks = next(iter(counts.values()))
        share = np.array([weights[name] for name in sources], float)
        if (share <= 0).any():
            raise ValueError(f"weights of data.sources must be positive: {dict(weights)}")
        self.counts = np.maximum(1, np.round(share / share.sum() * BLOCK).astype(int))
        self.pattern = np.repeat(np.arange(len(self.counts)), self.counts)
        self.lost: dict[tuple[int, int], str] = {}  # (source, index) -> the fault of a picture that cannot be read
        self._order = functools.lru_cache(maxsize=2 * len(self.counts))(self._order_of_epoch)
        self._block = functools.lru_cache(maxsize=4)(self._order_of_block)

    def locate(self, position: int) -> tuple[int, int]:
        """(source, index) of a position."""
        block, offset = divmod(position, len(self.pattern))
        which = self._block(block)
        source = int(which[offset])
        rank = block * int(self.counts[source]) + int(np.sum(which[:offset] == source))
        epoch, place = divmod(rank, len(self.sources[source]))
        return source, int(self._order(source, epoch)[place])

    def locate_all(self, first: int, count: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
        """:meth:`locate` of ``count`` positions from ``first`` on: the sources and the indices, int64 [count] each."""
        size = len(self.pattern)
        blocks = range(first // size, (first + count - 1) // size + 1)
        which = np.stack([self._block(block) for block in blocks])
        index = np.empty(which.shape, np.int64)
        for source, each in enumerate(self.counts.tolist()):
            # In a block, the n-th position of a source has the rank n after those of earlier blocks.
            rank = np.arange(blocks.start * each, blocks.stop * each)
            epoch, place = np.divmod(rank, len(self.sources[source]))
            found = np.empty_like(rank)
            for number in np.unique(epoch).tolist():
                found[epoch == number] = self._order(source, number)[place[epoch == number]]
            index[which == source] = found
        begin = first - blocks.start * size
        return which.ravel()[begin : begin + count].astype(np.int64), index.ravel()[begin : begin + count]

    def draws(self, positions: Int[np.ndarray, " n"], *, numbers: int) -> Float[np.ndarray, "n k"]:
        """The first ``numbers`` that :meth:`record` draws at each of some positions, float64 in [0, 1)."""
        return uniforms(self.seed, positions, numbers)

    def record(self, position: int) -> Record:
        """The record of a position: cropped with jitter; turned and mirrored at random if the options say so.

        The next good picture of the same source replaces one that cannot be decoded, and the log names that one once.
        """
        which, index = self.locate(position)
        source = self.sources[which]
        rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, position], np.uint64)))
        for step in range(len(source)):
            at = (index + step) % len(source)
            try:
                face = source.source[at]
                if self.rotate_deg:
                    face = misalign.rotated(face, rng.uniform(-self.rotate_deg, self.rotate_deg), _middle(face))
                record = source.crop(face, jitter=self.jitter, rng=rng)
            except BadRecord as error:
                if (which, at) not in self.lost:
                    self.lost[which, at] = str(error)
                    logging.warning("left out of training (%d so far): %s", len(self.lost), error)
                continue
            if record["identity"] >= 0:
                record["identity"] = np.int32(record["identity"] + which * IDENTITIES)
            return records.mirror(record) if rng.uniform() < self.flip else record
        raise ValueError(f"no picture of {source.name} can be decoded; the last fault: {self.lost[which, at]}")

    def _order_of_epoch(self, source: int, epoch: int) -> np.ndarray:
        count = len(self.sources[source])
        if not self.shuffle:
            return np.arange(count)
        return np.random.default_rng([self.seed, 1, source, epoch]).permutation(count)

    def _order_of_block(self, block: int) -> np.ndarray:
        if len(self.counts) == 1:
            return self.pattern
        return np.random.default_rng([self.seed, 2, block]).permutation(self.pattern)


def _middle(record: Record) -> np.ndarray:
    """(x, y) of the middle of the known landmarks, or of the picture."""
    points = record["landmarks_px"][np.isfinite(record["landmarks_px"]).all(-1)]
    height, width = record["image"].shape[:2]
    return points.mean(0) if len(points) else np.array([(width - 1) / 2, (height - 1) / 2], np.float32)


# ---- Many generators at once


def uniforms(seed: int, positions: Int[np.ndarray, " n"], count: int) -> Float[np.ndarray, "n k"]:
    """What ``Generator(Philox(key=[seed, position])).uniform(size=count)`` gives for each position, all at once.

    Philox (Salmon et al. 2011, Philox4x64 with 10 rounds, as NumPy has it) computes its numbers from a key and a
    counter, without a state, so that arrays of positions do as well as one; a generator for each costs 15 µs.

    Args:
      seed: not negative.
      positions: not negative.
      count: numbers for each position.
    """
    key1 = positions.astype(np.uint64)
    blocks = []
    for counter in range(1, -(-count // 4) + 1):  # NumPy counts on before it computes
        x = [np.full(len(key1), counter, np.uint64), *np.zeros((3, len(key1)), np.uint64)]
        for step in range(10):
            k0, k1 = (np.uint64((key + step * weyl) % 2**64) for key, weyl in zip((seed, 0), _WEYL, strict=True))
            (high0, low0), (high1, low1) = _multiplied(_FACTORS[0], x[0]), _multiplied(_FACTORS[1], x[2])
            x = [high1 ^ x[1] ^ k0, low1, high0 ^ x[3] ^ (key1 + k1), low0]
        blocks += x
    return (np.stack(blocks[:count], -1) >> np.uint64(11)) * 2.0**-53


_FACTORS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_LOW, _HALF = np.uint64(2**32 - 1), np.uint64(32)


def _multiplied(a, b):
    """The high and the low 64 bits of products of 64-bit numbers."""
    a0, a1, b0, b1 = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    middle = a1 * b0 + (a0 * b0 >> _HALF)
    other = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> _HALF) + (other >> _HALF), a * b
