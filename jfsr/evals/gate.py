"""What a quality gate costs and saves: MSGAN's Table 3, the pose with super-resolution never, by truth, or by the gate.

| input | selection | what the pose network reads |
|---|---|---|
| original | none | the original |
| original | gate | the original, or ours (of the original, down-sampled for it) where the gate asks for it |
| low resolution | none | the bicubic enlargement |
| low resolution | known | ours: it is known that super-resolution is needed |
| low resolution | gate | ours where the gate asks for it, else the bicubic enlargement |
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from jfsr.evals import pose
from jfsr.evals.faces import Faces
from jfsr.evals.pose import Read
from jfsr.methods import gate

Decide = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, " n"]]
ERRORS = ("yaw_err", "pitch_err", "roll_err", "mae")


def decider(config: Any, variables: Any, frozen: dict[str, Any]) -> Decide:
    """A function that gives the probability that each 8-bit face, enlarged if it was small, needs super-resolution.

    Args:
      config: of a run of method 'gate'.
      variables: its parameters and statistics, as of :func:`jfsr.export.load_variables`.
      frozen: ``pose``, the variables of the pose network that ``config.frozen.pose`` names.

    Raises:
      ValueError: a run of another method.
    """
    if config.method != "gate":
        raise ValueError(f"a run of {config.method} decides nothing; give a gate (configs/gate.py)")
    program = jax.jit(functools.partial(gate.decide, config))

    def decide(images: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, " n"]:
        return pose.in_chunks(lambda full: program(variables, frozen, full), images, width=())

    return decide


def run(faces: Iterable[Faces], read: Read, decide: Decide) -> list[dict[str, Any]]:
    """Reads every version of every face, lets the gate decide, and gives the rows of :func:`score`.

    Args:
      faces: of one system, from :func:`jfsr.evals.faces.compare`; with systems for several scales, call once for each
        and join the rows.
      read: the pose network, from :func:`jfsr.evals.pose.reader`.
      decide: from :func:`decider`.
    """
    rows: list[dict[str, Any]] = []
    for some in faces:
        readings = {method: read(some.images[method]) for method in ("original", "bicubic", "ours")}
        rows += score(some, readings, {method: decide(some.images[method]) for method in ("original", "bicubic")})
    return rows


def score(
    some: Faces,
    readings: Mapping[str, Float[np.ndarray, "n 3"]],
    needs: Mapping[str, Float[np.ndarray, " n"]],
) -> list[dict[str, Any]]:
    """Rows of poses that are read and decisions that are made already.

    Args:
      some: the faces.
      readings: (yaw, pitch, roll) in degrees off 'original', 'bicubic' and 'ours'.
      needs: the gate's probability that super-resolution is needed, of 'original' and 'bicubic'; above 0.5 it is used.

    Returns:
      One row per face, input and selection: ``scale`` of the system; ``input``, the side of the input in pixels;
      ``selection``; ``used``, the version that was read; ``needs_sr``, the gate's probability, and ``right``, 1 where
      it decided rightly, else 0 (both NaN where no gate was asked); and the columns of :func:`jfsr.evals.pose.run`,
      its ``method`` being 'INPUT/SELECTION'.
    """
    size, side = some.images["original"].shape[1], some.lr.shape[1]
    nobody, everybody = np.zeros(len(some.names), bool), np.ones(len(some.names), bool)
    asked = {version: probability > 0.5 for version, probability in needs.items()}
    # input, selection, what is read without super-resolution, which faces are super-resolved
    cases = [
        (size, "none", "original", nobody),
        (size, "gate", "original", asked["original"]),
        (side, "none", "bicubic", nobody),
        (side, "known", "bicubic", everybody),
        (side, "gate", "bicubic", asked["bicubic"]),
    ]
    rows: list[dict[str, Any]] = []
    for pixels, selection, plain, restored in cases:
        reading = np.where(restored[:, None], readings["ours"], readings[plain])
        of_case = pose.score(some, {f"{pixels}/{selection}": reading}, original=readings["original"])
        for i, row in enumerate(of_case):
            gated = selection == "gate"
            row |= {
                "scale": size // side,
                "input": pixels,
                "selection": selection,
                "used": "ours" if restored[i] else plain,
                "needs_sr": float(needs[plain][i]) if gated else np.nan,
                "right": float(restored[i] == (plain != "original")) if gated else np.nan,
            }
        rows += of_case
    return rows


def summary(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Table 3: one row per scale, input and selection, in the order of the rows of :func:`score`.

    Returns:
      scale, input, selection, ``n`` faces with a pose label that counts, the means of yaw_err, pitch_err, roll_err and
      mae over them in degrees (NaN without any), and over all faces, labelled or not, ``right_percent`` of the gate's
      decisions (NaN where no gate was asked) and ``restored_percent`` that were super-resolved.
    """
    groups: dict[tuple[int, int, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["scale"], row["input"], row["selection"]), []).append(row)
    out = []
    for (scale, pixels, selection), some in groups.items():
        kept = [row for row in some if not row["dropped"]]
        mean = {key: float(np.mean([row[key] for row in kept])) if kept else np.nan for key in ERRORS}
        shares = {
            "right_percent": 100.0 * float(np.mean([row["right"] for row in some])),
            "restored_percent": 100.0 * float(np.mean([row["used"] == "ours" for row in some])),
        }
        out.append({"scale": scale, "input": pixels, "selection": selection, "n": len(kept), **mean, **shares})
    return out
