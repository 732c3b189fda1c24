"""Pairs of faces to compare: the same person, or two.

A folder of images (:mod:`jfsr.data.datasets.folder`) may hold, beside its ``labels.csv``, a ``pairs.csv``, a line per
pair::

    file_a  file_b      paths of the two images, relative to the folder
    same                1: they show one person, 0: they do not
    fold                optional: number of the pair's fold, for cross-validated accuracy
"""

from __future__ import annotations

import csv
import io
import os
import pathlib
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Bool, Int

from jfsr.data.datasets import folder

COLUMNS = ("file_a", "file_b", "same")


class Pair(NamedTuple):
    """Two faces by their records' names, whether they show one person, and the fold that the pair belongs to."""

    a: str
    b: str
    same: bool
    fold: int


def read_pairs_csv(file: os.PathLike | str, *, count: int = 10) -> list[Pair]:
    """The pairs of a ``pairs.csv``, in its order.

    Without a column ``fold`` the pairs are dealt to folds that share no person, as far as that is possible: see
    :func:`folds`; the log says how many people several folds share, if any. People are known from the ``labels.csv``
    beside the file; a face without an identity there counts as a person of its own.

    Args:
      file: the CSV, in the folder of its images.
      count: how many folds to deal; not read where the file has its own.

    Raises:
      ValueError: with the file, the line, the rule broken and the remedy: a column missing or unknown, an image that is
        not in the folder, a pair given twice or of one image with itself, ``same`` other than 0 and 1 or against the
        labels, ``fold`` no whole number.
    """
    file = pathlib.Path(file)
    if not file.is_file():
        raise ValueError(f"no file {file}; it lists the pairs: {','.join(COLUMNS)}[,fold]")
    images = {
        p.relative_to(file.parent).as_posix()
        for p in file.parent.rglob("*")
        if p.suffix.lower() in folder.SUFFIXES and p.is_file()
    }
    labels = file.parent / "labels.csv"
    rows = folder.read_labels(labels, images) if labels.exists() else {}
    person = {name: row["identity"] for name, row in rows.items() if row["identity"]}
    pairs = _read(file, images, person)
    if len(pairs) < 2:
        raise ValueError(f"{file}: {len(pairs)} pairs; accuracy takes two or more, a line file_a,file_b,same for each")
    if pairs[0].fold >= 0:
        return pairs
    who = lambda name: ("person", person[name]) if name in person else ("face", name)
    number = {one: i for i, one in enumerate(dict.fromkeys(who(name) for p in pairs for name in (p.a, p.b)))}
    a, b = np.array([[number[who(p.a)], number[who(p.b)]] for p in pairs]).T
    fold = folds(a, b, np.array([p.same for p in pairs]), count=min(count, len(pairs)))
    if shared(a, b, fold):
        logging.warning("%s: %d people appear in more than one of the %d folds", file, shared(a, b, fold), count)
    return [pair._replace(fold=int(f)) for pair, f in zip(pairs, fold, strict=True)]


def folds(
    a: Int[np.ndarray, " n"], b: Int[np.ndarray, " n"], same: Bool[np.ndarray, " n"], *, count: int = 10
) -> Int[np.ndarray, " n"]:
    """Deals pairs without folds of their own to ``count`` folds, numbered from 0, so that no two folds share a person.

    People joined by pairs of two, however indirectly, form a group. The groups, largest first, go whole to the fold
    that has least of what they bring, so that all folds come near the same number of either kind. A group of more than
    1/count of the pairs cannot stay whole: its pairs are dealt one by one, and its people appear in several folds
    (:func:`shared` counts them). The result depends on the pairs and their order alone.

    Args:
      a, b: number of the person on either side; number the faces where nobody is known.
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
    whole = [g for g in groups.values() if len(g) * count <= len(a)]
    single = [[i] for g in groups.values() if len(g) * count > len(a) for i in g]
    out, load = np.empty(len(a), np.int64), np.zeros((count, 2), np.int64)
    for group in sorted(whole, key=len, reverse=True) + single:
        brings = np.array([same[group].sum(), (~same[group]).sum()])
        # Of all folds, this one keeps the sum of the squared loads smallest; among equals, the emptiest.
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
    """How many people (or faces, whatever ``a`` and ``b`` number) appear in more than one fold."""
    seen = np.unique(np.stack([np.concatenate([a, b]), np.concatenate([fold, fold])]), axis=1)
    return int(np.sum(np.unique(seen[0], return_counts=True)[1] > 1))


def _read(file: pathlib.Path, images: set[str], person: dict[str, str]) -> list[Pair]:
    """The file's pairs; fold -1 where it has no such column."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"{file}, line {line}: not UTF-8; save the table as CSV in UTF-8") from error
    out: list[Pair] = []
    lines: dict[frozenset[str], int] = {}
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream)
        header = [h.strip() for h in reader.fieldnames or []]
        reader.fieldnames = header
        missing = [c for c in COLUMNS if c not in header]
        unknown = [h for h in header if h not in (*COLUMNS, "fold") or header.count(h) > 1]
        if missing or unknown:
            fault = f"no column {missing[0]!r}" if missing else f"column {unknown[0]!r} is unknown or appears twice"
            raise ValueError(f"{file}, line 1: {fault}; columns are {', '.join(COLUMNS)} and, if wanted, fold")
        for row in reader:
            where = f"{file}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{where}: {'more' if None in row else 'fewer'} cells than the header has columns")
            cells = {key: value.strip() for key, value in row.items()}
            a, b = (cells[c].replace("\\", "/").removeprefix("./") for c in COLUMNS[:2])
            for name in (a, b):
                if name not in images:
                    raise ValueError(f"{where}: no image {name!r} in the folder; remove the line or add the image")
            if a == b:
                raise ValueError(f"{where}: {a!r} is paired with itself; remove the line")
            first = lines.setdefault(frozenset((a, b)), reader.line_num)
            if first != reader.line_num:
                raise ValueError(f"{where}: the pair {a!r}, {b!r} is on line {first} already; keep one")
            if cells["same"] not in ("0", "1"):
                raise ValueError(f"{where}: same is {cells['same']!r}; write 1 for one person, 0 for two")
            same = cells["same"] == "1"
            if a in person and b in person and same != (person[a] == person[b]):
                raise ValueError(
                    f"{where}: same is {cells['same']}, but labels.csv says {person[a]!r} and "
                    f"{person[b]!r}; correct one"
                )
            if "fold" in cells and not cells["fold"].isdecimal():
                raise ValueError(f"{where}: fold is {cells['fold']!r}; write a whole number from 0 on, in every line")
            out.append(Pair(a, b, same, int(cells.get("fold", -1))))
    return out
