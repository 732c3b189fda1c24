"""The user's CSV files (``labels.csv``, ``pairs.csv``): UTF-8, one header line, every fault with its line number."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Iterator


def read_csv(file: pathlib.Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The columns of a CSV file, and its rows with their line numbers.

    Returns:
      The header's cells without spaces around them, and an iterator over (line number, cells by column).

    Raises:
      ValueError: the file is not UTF-8; while iterating: a row has more or fewer cells than the header.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"{file}, line {line}: not UTF-8; save the table as CSV in UTF-8") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    reader.fieldnames = [cell.strip() for cell in reader.fieldnames or []]
    return list(reader.fieldnames), _rows(file, reader)


def _rows(file: pathlib.Path, reader: csv.DictReader) -> Iterator[tuple[int, dict[str, str]]]:
    for row in reader:
        if None in row or None in row.values():
            amount = "more" if None in row else "fewer"
            raise ValueError(f"{file}, line {reader.line_num}: {amount} cells than the header has columns")
        yield reader.line_num, row


def image_name(cell: str) -> str:
    """A cell's path of an image as records are named: forward slashes, relative to the folder."""
    return cell.strip().replace("\\", "/").removeprefix("./")
