"""Pairs of faces to compare: the same person, or two people.

A folder of images (:mod:`jfsr.data.datasets.folder`) may hold a ``pairs.csv`` beside its ``labels.csv``, with a header
line and one line per pair::

    file_a  file_b      paths of the two images, relative to the folder
    same                1: they show one person, 0: they show two
    fold                optional: number of the pair's fold, for cross-validated accuracy
"""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Bool, Int

from jfsr.data.csvfile import Names, find, read_csv
from jfsr.data.datasets.labels import read_labels
from jfsr.data.images import find_images

COLUMNS = ("file_a", "file_b", "same")


class Pair(NamedTuple):
    """Two faces by their records' names, whether they show one person, and the fold that the pair belongs to."""

    a: str
    b: str
    same: bool
    fold: int


def read_pairs_csv(file: os.PathLike | str, *, count: int = 10) -> list[Pair]:
    """The pairs of a ``pairs.csv``, in its order.

    Without a column ``fold``, the pairs are dealt to folds that share no person as far as that is possible, see
    :func:`deal`; if some people appear in several folds, the log says how many. The ``labels.csv`` beside the file says
    who the people are; a face without an identity there counts as a person of its own.

    Args:
      file: the CSV, in the folder of its images.
      count: how many folds to deal; not used when the file has its own folds.

    Raises:
      ValueError: names the file, the line, the rule that it breaks and the remedy. The rules: no column is missing or
        unknown; each image is in the folder; no pair appears twice or pairs an image with itself; ``same`` is 0 or 1
        and agrees with the labels; ``fold`` is a whole number.
    """
    file = pathlib.Path(file)
    if not file.is_file():
        raise ValueError(f"no file {file}; it lists the pairs: {','.join(COLUMNS)}[,fold]")
    images = {p.relative_to(file.parent).as_posix() for p in find_images(file.parent).files}
    labels = find(file.parent, "labels.csv")
    rows = read_labels(labels, images)[0] if labels.exists() else {}
    person = {name: row["identity"] for name, row in rows.items() if row["identity"]}
    pairs = _read(file, images, person)
    if len(pairs) < 2:
        raise ValueError(f"{file}: {len(pairs)} pairs; accuracy takes two or more, a line file_a,file_b,same for each")
    if pairs[0].fold >= 0:
        return pairs
    who = lambda name: ("person", person[name]) if name in person else ("face", name)
    dealt, split_people = deal(pairs, who, count=count)
    if split_people:
        logging.warning("%s: %d people appear in more than one of the %d folds", file, split_people, count)
    return dealt


def deal(pairs: list[Pair], person: Callable[[str], Hashable], *, count: int = 10) -> tuple[list[Pair], int]:
    """The pairs with folds that share no person as far as that is possible, see :func:`folds`.

    Args:
      pairs: their own folds are ignored.
      person: name of a face -> who it shows.
      count: number of folds, fewer if there are fewer pairs.

    Returns:
      The pairs in the same order, and how many people appear in more than one fold.
    """
    people = dict.fromkeys(person(name) for pair in pairs for name in (pair.a, pair.b))
    number = {who: i for i, who in enumerate(people)}
    a, b = np.array([[number[person(pair.a)], number[person(pair.b)]] for pair in pairs]).T
    fold = folds(a, b, np.array([pair.same for pair in pairs]), count=min(count, len(pairs)))
    return [pair._replace(fold=int(f)) for pair, f in zip(pairs, fold, strict=True)], shared(a, b, fold)


def evenly(pairs: list[Pair], count: int) -> list[Pair]:
    """At most ``count`` of the pairs, as evenly as it goes over the folds and over same and different; in their order.

    Official lists are sorted by fold: the first thousand would be one fold, and half of them of one kind.
    """
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault((pair.fold, pair.same), []).append(index)
    rounds = itertools.zip_longest(*(groups[key] for key in sorted(groups)))
    taken = list(itertools.islice((i for each in rounds for i in each if i is not None), count))
    return [pairs[i] for i in sorted(taken)]


def folds(
    a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"], same: Bool[np.ndarray, " n"], *, count: int = 10
) -> Int[np.ndarray, " n"]:
    """Deals pairs to ``count`` folds, numbered from 0, so that no two folds share a person.

    People who are joined by pairs of two people, however indirectly, form a group. The groups, largest first, are kept
    together: each goes to the fold that has least of what the group brings, so that all folds end with nearly the same
    number of pairs of either kind. A group with more than 1/count of the pairs is too large to stay together: its pairs
    are dealt one by one, and its people appear in several folds (:func:`shared` counts them). The result depends only
    on the pairs and their order.

    Args:
      a, b: number of the person on either side; number the faces instead if the people are unknown.
      same: whether the pair shows one person.
      count: number of folds.

    Raises:
      ValueError: fewer than two folds, or fewer pairs than folds.
    """
    if not 2 <= count <= len(a):
        raise ValueError(f"{len(a)} pairs cannot be dealt to {count} folds; there must be 2 folds or more, none empty")
    groups: dict[int, list[int]] = {}
    for i, root in enumerate(_groups(a, b)):
        groups.setdefault(int(root), []).append(i)
    together = [g for g in groups.values() if len(g) * count <= len(a)]
    single = [[i] for g in groups.values() if len(g) * count > len(a) for i in g]
    out, load = np.empty(len(a), np.int64), np.zeros((count, 2), np.int64)
    for group in sorted(together, key=len, reverse=True) + single:
        brings = np.array([same[group].sum(), (~same[group]).sum()])
        # The fold whose choice keeps the sum of the squared loads smallest; among equals, the emptiest.
        chosen = min(range(count), key=lambda f: (int(load[f] @ brings), int(load[f].sum())))
        out[group] = chosen
        load[chosen] += brings
    return out


def _groups(a: np.ndarray, b: np.ndarray) -> list[int]:
    """A number per pair, equal for pairs whose people are joined (union–find)."""
    parent: dict[int, int] = {}

    def root(x: int) -> int:
        while parent.setdefault(x, x) != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        parent[root(x)] = root(y)
    return [root(x) for x in a.tolist()]


def shared(a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"], fold: Int[np.ndarray, " n"]) -> int:
    """How many people (or faces, if ``a`` and ``b`` number those) appear in more than one fold."""
    seen = np.unique(np.stack([np.concatenate([a, b]), np.concatenate([fold, fold])]), axis=1)
    return int(np.sum(np.unique(seen[0], return_counts=True)[1] > 1))


def _read(file: pathlib.Path, images: set[str], person: dict[str, str]) -> list[Pair]:
    """The pairs of the file; their fold is -1 if the file has no such column."""
    out: list[Pair] = []
    lines: dict[frozenset[str], int] = {}
    header, rows = read_csv(file)
    names = Names(images)
    missing = [c for c in COLUMNS if c not in header]
    unknown = [h for h in header if h not in (*COLUMNS, "fold") or header.count(h) > 1]
    if missing or unknown:
        fault = f"no column {missing[0]!r}" if missing else f"column {unknown[0]!r} is unknown or appears twice"
        raise ValueError(f"{file}, line 1: {fault}; columns are {', '.join(COLUMNS)} and, if wanted, fold")
    for line, row in rows:
        where = f"{file}, line {line}"
        cells = {key: value.strip() for key, value in row.items()}
        a, b = (names.find(cells[c], where) for c in COLUMNS[:2])
        if a == b:
            raise ValueError(f"{where}: {a!r} is paired with itself; remove the line")
        first = lines.setdefault(frozenset((a, b)), line)
        if first != line:
            raise ValueError(f"{where}: the pair {a!r}, {b!r} is on line {first} already; keep one")
        if cells["same"] not in ("0", "1"):
            raise ValueError(f"{where}: same is {cells['same']!r}; write 1 for one person, 0 for two")
        same = cells["same"] == "1"
        if a in person and b in person and same != (person[a] == person[b]):
            raise ValueError(
                f"{where}: same is {cells['same']}, but labels.csv says {person[a]!r} and {person[b]!r}; correct one"
            )
        if "fold" in cells and not cells["fold"].isdecimal():
            raise ValueError(f"{where}: fold is {cells['fold']!r}; write a whole number from 0 on, in every line")
        out.append(Pair(a, b, same, int(cells.get("fold", -1))))
    return out
