"""What a figure is, and what it is drawn from: faces chosen by a seed, systems that restore them, a network that reads.

A figure's ``draw`` gets a :class:`Scene` and gives a :class:`Drawing`: the picture, the lines behind it, and what one
must know. It opens no file and loads no network itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from jfsr.data.operators import NATIVE
from jfsr.drawing.figures import Picture
from jfsr.evals import faces, identity
from jfsr.evals.faces import Faces, Line
from jfsr.tables import protocols, scoring
from jfsr.tables.protocols import Protocol

OURS = "ours"  # the system of --checkpoint; those of --beside have the user's labels
SHOWN = 6  # faces in a sheet, as in the reports; not more than one batch

Read = Callable[[UInt8[np.ndarray, "n h w 3"]], Float[np.ndarray, "n f"]]


class Drawing(NamedTuple):
    """A figure drawn.

    Attributes:
      picture: of the PNG.
      lines: of the CSV.
      notes: where it departs from the paper's, and what is missing.
    """

    picture: Picture
    lines: list[Line]
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a paper.

    Attributes:
      protocol: its name and title, the faces, as of a table, and the paper's networks; a named ``identity`` is the
        figure's own subject, not to be replaced by the run's.
      draw: draws it.
      network: kind of the network that reads the faces: 'pose', 'identity' or ''.
      system: whether it shows what a system restores.
      beside: what further systems (--beside) are for.
      instead: what to do where the paper's network is absent.
      split_of_scale: scale -> split, of faces that are as small in their pictures as a system's input.
    """

    protocol: Protocol
    draw: Callable[[Scene], Drawing]
    network: str = ""
    system: bool = True
    beside: str = ""
    instead: str = ""
    split_of_scale: Mapping[int, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Scene:
    """What a figure is drawn from.

    Attributes:
      protocol: with the scale of the first system and the network's name filled in.
      systems: ``OURS``, then those beside it, by label.
      network: (frozen network, variables), of a figure that needs one.
      limit: at most so many faces, or pairs; 0 = the figure's own number.
    """

    protocol: Protocol
    systems: dict[str, scoring.System]
    network: tuple[Any, Any] | None = None
    limit: int = 0

    @property
    def has_hr(self) -> bool:
        """Whether there are originals: not of faces that are as small in their pictures as the system's input."""
        return self.protocol.lr_operator != NATIVE

    @property
    def network_name(self) -> str:
        """Name of the network that reads the faces."""
        assert self.network is not None
        return str(self.network[0].name).rstrip("/").rsplit("/", 1)[-1]

    def choose(self, count: int, accept: Callable[[dict[str, Any]], bool] = lambda record: True) -> Chosen:
        """Opens the faces and chooses some of them: by seed 0, so that the same command shows the same faces.

        Args:
          count: at most so many; 0 = all.
          accept: whether a record will do.

        Raises:
          ValueError: not one will do; says why the first does not.
        """
        all_faces = scoring.open_faces(self.protocol)
        count = min(count or len(all_faces), self.limit or len(all_faces), len(all_faces))
        identities: dict[int, int] = {}
        reasons = []
        for index in np.random.default_rng(0).permutation(len(all_faces)).tolist():
            if len(identities) == count:
                break
            try:
                record = all_faces[index]
            except ValueError as error:  # cannot be decoded, or lacks what the crop needs
                reasons.append(str(error))
                continue
            if accept(record):
                identities[index] = int(record["identity"])
        if not identities:
            why = reasons[0] if reasons else "none has the labels that it needs"
            raise ValueError(f"no face of {all_faces.name} will do for {self.protocol.name}: {why}")
        order = sorted(identities)
        data = scoring.Data(faces.Pick(all_faces, order), all_faces, reasons, self.protocol)
        return Chosen(data, np.array([identities[i] for i in order]))

    def restored(self, label: str, chosen: Chosen) -> Iterator[Faces]:
        """Faces beside what a system makes of them."""
        system = self.systems[label]
        protocol = protocols.replace(self.protocol, {"scale": system.scale})
        return scoring.restored(system, dataclasses.replace(chosen.data, protocol=protocol))

    def sheet_of(self, chosen: Chosen) -> tuple[Faces, dict[str, UInt8[np.ndarray, "n H W 3"]]]:
        """The first batch of faces by the first system, and what every system makes of them, by label."""
        self.one_scale()
        every = {label: next(self.restored(label, chosen)) for label in self.systems}
        return every[OURS], {label: batch.images["ours"] for label, batch in every.items()}

    def read_all(self, chosen: Chosen, read: Read) -> tuple[list[str], dict[int, dict[str, Float[np.ndarray, "n f"]]]]:
        """What a network reads off the originals, their bicubic enlargements, and every system's faces.

        Returns:
          The faces' names, and what was read by scale, then by row: 'original', 'bicubic', and labels of systems.
        """
        out: dict[int, dict[str, np.ndarray]] = {}
        names: list[str] = []
        for label, system in self.systems.items():
            known = out.setdefault(system.scale, {})
            readings: dict[str, list[np.ndarray]] = {m: [] for m in ("original", "bicubic") if m not in known}
            readings[label], names = [], []
            for batch in self.restored(label, chosen):
                names += batch.names
                for row, values in readings.items():
                    values.append(read(batch.images["ours" if row == label else row]))
            known |= {row: np.concatenate(values) for row, values in readings.items()}
        return names, out

    def one_scale(self) -> None:
        """ValueError unless all systems start from the same low resolution."""
        for label, system in self.systems.items():
            if system.scale != self.systems[OURS].scale:
                raise ValueError(
                    f"{self.protocol.name} compares systems of one scale: --beside={label}=… restores "
                    f"×{system.scale}, the other ×{self.systems[OURS].scale}"
                )

    def features(self) -> Read:
        """A function that reads the network's features off 8-bit faces: of a pose network, the penultimate layer's."""
        assert self.network is not None
        network, variables = self.network
        if network.kind == "identity":
            return identity.program(network, variables)
        if network.kind != "pose":
            raise ValueError(f"{network.name} is of kind {network.kind!r}; {self.protocol.name} takes a pose network")
        program = jax.jit(lambda variables, images: network.apply(variables, images).features)
        return lambda images: faces.in_chunks(lambda full: program(variables, full), images, width=(network.features,))


class Chosen(NamedTuple):
    """Faces chosen: as a table's data, and whose they are (-1 = unknown)."""

    data: scoring.Data
    identity: Int[np.ndarray, " n"]


def lr_title(scale: int) -> str:
    """'16×16' at ×8."""
    return f"LR {128 // scale}×{128 // scale}"


def absent(system: str, run: str) -> list[str]:
    """A note on what only a further run would show."""
    return [f"not shown: {system}; it needs {run}: --beside=LABEL=RUN"]
