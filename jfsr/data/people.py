"""How many people a source shows: the number of classes of a network that tells them apart."""

from __future__ import annotations

from jfsr.data.datasets.building import Built
from jfsr.data.datasets.folder import Folder
from jfsr.data.datasets.official import OfficialFolder
from jfsr.data.records import BadRecord, Pictures


def count(pictures: Pictures) -> int:
    """One more than the largest identity number; 0 where no face has an identity.

    Labels are read, pictures are not, except of the synthetic heads and of sources that are not jfsr's own.
    """
    if isinstance(pictures, Folder):
        return len(pictures.identities)
    if isinstance(pictures, OfficialFolder):
        return len(pictures.people)
    if isinstance(pictures, Built):
        return max(pictures.identities(), default=-1) + 1
    largest = -1
    for index in range(len(pictures)):
        try:
            largest = max(largest, int(pictures[index]["identity"]))
        except BadRecord:
            continue
    return largest + 1
