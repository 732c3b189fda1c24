"""What the tests of every published set do: write small pictures, read them, build the set, read it back."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

from jfsr.data import records
from jfsr.data.datasets import building, checking, official


def write_image(path: pathlib.Path, size: tuple[int, int] = (48, 40), seed: int = 0) -> np.ndarray:
    """Writes smooth noise of (width, height) pixels, in the format that the name says; returns the pixels."""
    width, height = size
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return np.asarray(image)


def cut_short(path: pathlib.Path) -> None:
    """Keeps the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def read_all(source: records.Pictures) -> dict[str, records.Record]:
    """Name -> record of every face that can be read."""
    out = {}
    for index in range(len(source)):
        try:
            record = source[index]
        except records.BadRecord:
            continue
        assert record["name"] == source.name_of(index)
        out[record["name"]] = record
    return out


def assert_equal(a: records.Record, b: records.Record) -> None:
    """The same keys, values, shapes and types; unknown (NaN) equals unknown."""
    assert a.keys() == b.keys() == records.new_record(np.zeros((8, 8, 3), np.uint8), "").keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=f"{a['name']}: {key}")
        assert np.asarray(value).dtype == np.asarray(b[key]).dtype, (a["name"], key)


def roundtrip(spec: official.Official, root: pathlib.Path, tmp_path: pathlib.Path) -> dict[str, checking.Account]:
    """Reads a copy where it lies, checks it, builds it and reads it back, equal record by record.

    Args:
      spec: the data set.
      root: the official folder.
      tmp_path: where TFDS may write.

    Returns:
      The account of each split that the copy has.
    """
    _, accounts = building.build(spec, root, dir=str(tmp_path / "tfds"), workers=1)
    checked, _ = checking.check(spec, root, workers=1)
    assert [(a.split, a.found, a.dropped, a.remarks) for a in checked] == [
        (a.split, a.found, a.dropped, a.remarks) for a in accounts
    ]
    for account in accounts:
        read = read_all(official.OfficialFolder(spec, root, split=account.split))
        built = read_all(building.Built(spec, str(tmp_path / "tfds"), split=account.split))
        assert list(read) == list(built)
        assert len(read) == account.kept
        for name, record in read.items():
            assert_equal(record, built[name])
    return {account.split: account for account in accounts}


def rules(account: checking.Account) -> dict[str, str]:
    """Name -> rule of each face that cannot be used."""
    return dict(account.dropped)
