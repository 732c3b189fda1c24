"""The user's CSV files (``labels.csv``, ``pairs.csv``): UTF-8, one header line, every fault with its line number."""

from __future__ import annotations

import csv
import io
import pathlib
import unicodedata
from collections.abc import Iterable, Iterator

from jfsr import files


class Bad(ValueError):  # noqa: N818 - it is the line that is bad
    """One line that cannot be used: names it, the rule that it breaks and the remedy."""


def read_csv(file: pathlib.Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns of a CSV file, and its rows with their line numbers.

    Returns:
      The header's cells without spaces around them, and an iterator over (line number, cells by column).

    Raises:
      ValueError: it cannot be read as a table; while iterating: a row has more or fewer cells than the header. Rows of
        empty cells are left out.
    """
    reader = csv.DictReader(io.StringIO(files.read_text(file), newline=""))
    try:
        reader.fieldnames = [cell.strip() for cell in reader.fieldnames or []]
    except csv.Error as error:
        raise ValueError(f"{file}, line 1: no line of a table ({error})") from error
    return list(reader.fieldnames), _rows(file, reader)


def _rows(file: pathlib.Path, reader: csv.DictReader) -> Iterator[tuple[int, dict[str, str]]]:
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # a cell of more than 131,072 characters, for instance
            raise ValueError(f"{file}, line {reader.line_num}: no line of a table ({error})") from error
        beyond = row.get(None) or []  # cells that the header has no column for
        if not any(cell.strip() for cell in (*beyond, *(v for k, v in row.items() if k is not None and v))):
            continue
        if None in row or None in row.values():
            amount = "more" if None in row else "fewer"
            raise ValueError(f"{file}, line {reader.line_num}: {amount} cells than the header has columns")
        yield reader.line_num, row


def find(folder: pathlib.Path, name: str) -> pathlib.Path:
    """A file of a folder by its name, in capitals or not; where there is none, the path that it would have.

    Raises:
      ValueError: there are several.
    """
    found = sorted(p for p in folder.iterdir() if p.name.lower() == name and p.is_file())
    if len(found) > 1:
        raise ValueError(f"{folder} has {' and '.join(p.name for p in found)}; keep one of them, as {name}")
    return found[0] if found else folder / name


class Names:
    """The images of a folder by the names that a CSV gives them: accents may be composed (NFC) or not (NFD)."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = set(known)
        self._composed: dict[str, str] = {}
        twice = set()
        for name in self._known:
            key = unicodedata.normalize("NFC", name)
            twice |= {key} & self._composed.keys()
            self._composed[key] = name
        for key in twice:  # both spellings are here: only the exact one will do
            del self._composed[key]

    def find(self, cell: str, where: str) -> str:
        """The image that a cell names; :class:`Bad` if there is none."""
        name = image_name(cell)
        if name in self._known:
            return name
        if (same := self._composed.get(unicodedata.normalize("NFC", name))) is not None:
            return same
        if files.not_utf8(name):
            raise Bad(f"{where}: {files.printable(name)!r} is not UTF-8; save the table as CSV in UTF-8")
        raise Bad(f"{where}: no image {name!r} in the folder; remove the line or add the image")


def image_name(cell: str) -> str:
    """A cell's path of an image as records are named: forward slashes, relative to the folder."""
    return cell.strip().replace("\\", "/").removeprefix("./")
