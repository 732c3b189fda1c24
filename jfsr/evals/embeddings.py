"""Embeddings of whole sets of faces, each face once: what verification and identification compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from jfsr.evals.faces import Faces
from jfsr.evals.identity import EmbedProgram


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """Embeddings of faces, not normalised.

    Attributes:
      names: of the faces, each once.
      by_row: [n, d] by row of the table, in the order of the names.
    """

    names: list[str]
    by_row: dict[str, Float[np.ndarray, "n d"]]

    def index(self) -> dict[str, int]:
        """Position of each name."""
        return {name: i for i, name in enumerate(self.names)}


def embed(faces: Iterable[Faces], program: EmbedProgram) -> Embeddings:
    """Embeds every version of every face, each once, however many pairs it appears in.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      program: from :func:`jfsr.evals.identity.program`.

    Raises:
      ValueError: no face, a name that two faces bear, or an embedding that is not finite.
    """
    names: list[str] = []
    by_row: dict[str, list[np.ndarray]] = {}
    for batch in faces:
        for row, images in batch.images.items():
            features = program(images)
            bad = np.flatnonzero(~np.isfinite(features).all(axis=-1))
            if len(bad):
                raise ValueError(f"the embedding of {batch.names[bad[0]]}, row {row!r}, is not finite")
            by_row.setdefault(row, []).append(features)
        names += batch.names
    if not names:
        raise ValueError("there is no face to embed")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two faces are named {twice!r}; pairs would not know which is meant")
    return Embeddings(names, {row: np.concatenate(batches) for row, batches in by_row.items()})
