"""Whether a frozen identity network still sees the same person: the enlargements and ours beside the original."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr import recognition
from jfsr.evals.faces import Faces, in_chunks

Embed = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n f"]]


def embedder(network: Any, variables: Any) -> Embed:
    """A function that gives the embeddings of 8-bit faces of one size, not normalised.

    Args:
      network: an identity :class:`jfsr.frozen.zoo.FrozenNetwork`.
      variables: its variables, an argument of the compiled program.

    Raises:
      ValueError: a frozen network of another kind.
    """
    if network.kind != "identity":
        raise ValueError(f"{network.name} reads {network.kind}, not identity; give an identity network")
    program = jax.jit(network.apply)

    def embed(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n f"]:
        return in_chunks(lambda full: program(variables, full), images, width=(network.features,))

    return embed


def run(faces: Iterable[Faces], embed: Embed) -> list[dict[str, Any]]:
    """Compares the embeddings of the baselines' enlargements and of ours with the original's.

    Args:
      faces: from :func:`jfsr.evals.faces.compare`.
      embed: from :func:`embedder`.

    Returns:
      One row per face and method: position, name, method, and identity_cosine, 1 for the same direction (IAFSR's cos θ
      in (1)).
    """
    rows: list[dict[str, Any]] = []
    for some in faces:
        original = recognition.unit(embed(some.images["original"]))
        for method in list(some.images)[1:]:
            cosine = np.sum(original * recognition.unit(embed(some.images[method])), axis=-1)
            for i, name in enumerate(some.names):
                row: dict[str, Any] = {"position": int(some.position[i]), "name": name, "method": method}
                rows.append({**row, "identity_cosine": float(cosine[i])})
    return rows
