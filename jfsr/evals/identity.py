"""Whether a frozen identity network still sees the same person: the enlargements and ours beside the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr import recognition
from jfsr.evals.context import Column, Context
from jfsr.evals.faces import Faces, Line, in_chunks

NETWORK = "identity"
COLUMNS = {
    "identity_cosine": Column(
        title="identity cos",
        digits=3,
        legend="Identity cos: cosine of the identity network's embeddings of this face and of the original.",
    )
}

# 8-bit faces of one size -> embeddings, not normalised.
EmbedProgram = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n f"]]


def program(network: Any, variables: Any) -> EmbedProgram:
    """A compiled function that gives the embeddings of 8-bit faces of one size, not normalised.

    Args:
      network: an identity :class:`jfsr.frozen.network.FrozenNetwork`.
      variables: its variables, an argument of the compiled program.

    Raises:
      ValueError: a network of another kind.
    """
    if network.kind != "identity":
        raise ValueError(f"{network.name} reads {network.kind}, not identity; give an identity network")
    compiled = jax.jit(network.apply)

    def embed(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n f"]:
        return in_chunks(lambda full: compiled(variables, full), images, width=(network.features,))

    return embed


def run(faces: Iterable[Faces], context: Context) -> list[Line]:
    """Compares the embeddings of the enlargements and of ours with those of the originals.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      context: its program ``'identity'``; without it there are no lines.

    Returns:
      One line per face and row: identity_cosine, 1 for the same direction (IAFSR's cos θ in (1)).
    """
    embed = context.programs.get("identity")
    lines: list[Line] = []
    for batch in faces if embed else ():
        original = recognition.unit(embed(batch.images["original"]))
        for row in list(batch.images)[1:]:
            cosine = np.sum(original * recognition.unit(embed(batch.images[row])), axis=-1)
            lines += batch.lines(row, {"identity_cosine": cosine})
    return lines
