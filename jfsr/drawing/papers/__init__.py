"""The papers' figures by name: what ``eval.py --figures=msgan/f9`` does between its options and its files.

To add a figure: one entry in the ``FIGURES`` of its paper's file. A figure's faces are those of its protocol. In their
place ``--data=folder=DIR`` has the user's own, and ``--data=synthetic_heads`` those that jfsr renders: every figure can
be drawn of them, under the title of what they are.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jfsr import files
from jfsr.config import nearest
from jfsr.data import datasets
from jfsr.data.datasets import building
from jfsr.drawing import figures
from jfsr.drawing.papers import iafsr, msgan, parts
from jfsr.drawing.papers.scene import OURS, Drawing, Figure, Scene
from jfsr.evals.faces import ROWS
from jfsr.frozen import zoo
from jfsr.tables import protocols, scoring, summary
from jfsr.tables.protocols import Protocol

FIGURES: dict[str, Figure] = {**msgan.FIGURES, **iafsr.FIGURES, **parts.FIGURES}

# Faces that every figure can be drawn of, and the table that says how they are cropped.
ANY = {"folder": "folder", "synthetic_heads": "synthetic"}


def figure(name: str) -> Figure:
    """A figure by name; ValueError names the nearest."""
    if name not in FIGURES:
        raise ValueError(f"no figure {name!r}{nearest(name, FIGURES)}; figures: {', '.join(FIGURES)}")
    return FIGURES[name]


def choose(
    names: Sequence[str], folders: Mapping[str, str], fields: Mapping[str, Any]
) -> tuple[dict[str, Protocol], dict[str, str]]:
    """The faces of each figure, and of those without faces here what they need.

    Args:
      names: of figures.
      folders: the user's folders by data set. One for a data set of :data:`ANY` is the fallback for figures whose own
        data set has none.
      fields: further fields of the protocols: ``split``, ``crop``, ``margin``; None = as it is.

    Raises:
      ValueError: no such figure, or a folder that none of them reads.
    """
    found: dict[str, Protocol] = {}
    lacking: dict[str, str] = {}
    read = set()
    for name in names:
        protocol = figure(name).protocol
        dataset = next((r for r in (protocol.dataset, *ANY) if r in folders), "")
        if dataset and dataset != protocol.dataset:
            protocol = _instead(protocol, dataset)
        read |= {dataset}
        mine = {**fields, "split": fields.get("split") if protocol.dataset != "folder" else None}
        protocol = protocols.replace(protocol, {"dir": folders.get(dataset) or None, **mine})
        if why := scoring.lacks(protocol):
            lacking[name] = f"figure {name!r} needs its faces: {why}; or --data=folder=DIR, of your own"
        else:
            found[name] = protocol
    if unread := set(folders) - read:
        given = ", ".join(f"{dataset}={folders[dataset]}" for dataset in sorted(unread))
        raise ValueError(f"--data={given} is read by none of the figures {', '.join(names)}")
    return found, lacking


def _instead(protocol: Protocol, dataset: str) -> Protocol:
    """The protocol over other faces, cropped as their table of the same task."""
    kind = "-verification" if protocol.task == "verification" else "-misaligned" if protocol.misalign else ""
    table = protocols.TABLES.get(ANY[dataset] + kind)
    if table is None:
        raise ValueError(f"--data={dataset}: it has no pairs of faces, which {protocol.name} needs")
    taken = ("dataset", "split", "crop", "margin", "faces", "normaliser", "misalign", "lr_operator")
    return dataclasses.replace(protocol, **{k: getattr(table, k) for k in taken})


def network(name: str, chosen: str | None, system: scoring.System, protocol: Protocol) -> tuple[Any, Any] | None:
    """The network that a figure's faces are read by, as of a table: :func:`jfsr.tables.scoring.network_for`.

    Args:
      name: of the figure.
      chosen: what the user names; None: the figure's own subject, else the run's, else the paper's.
      system: the first one.
      protocol: of the figure.

    Raises:
      ValueError: it needs one, and there is none; says how to get it.
    """
    kind = figure(name).network
    if not kind:
        return None
    try:
        found, why = scoring.network_for(kind, chosen or getattr(protocol, kind) or None, system, protocol)
    except zoo.MissingWeights as error:
        found, why = None, str(error)
    if found is None:
        instead = figure(name).instead or f"--{kind}=NAME has another read the faces"
        raise ValueError(f"figure {name!r} needs a network that reads {kind}: {why}; {instead}")
    return found


def draw(
    name: str,
    protocol: Protocol,
    systems: Mapping[str, scoring.System],
    net: tuple[Any, Any] | None,
    *,
    limit: int = 0,
) -> tuple[Drawing, Protocol]:
    """Draws a figure.

    Args:
      name: of the figure.
      protocol: of :func:`choose`.
      systems: 'ours', then those beside it by label.
      net: of :func:`network`.
      limit: at most so many faces, or pairs; 0 = as many as the figure takes.

    Returns:
      The drawing, and the protocol with the scale and the network's name.
    """
    fields: dict[str, Any] = {"scale": systems[OURS].scale, "identity": ""}
    if net:
        fields[net[0].kind] = net[0].name
    usual = figure(name).protocol
    if (protocol.dataset, protocol.split) == (usual.dataset, usual.split):
        usual = protocols.replace(usual, {"split": figure(name).split_of_scale.get(systems[OURS].scale)})
        fields["split"] = usual.split
    protocol = protocols.replace(protocol, fields)
    drawing = figure(name).draw(Scene(protocol, dict(systems), net, limit))
    notes = [*drawing.notes, *_departures(protocol, usual)]
    return drawing._replace(notes=notes), protocol


def _departures(protocol: Protocol, usual: Protocol) -> list[str]:
    """Other faces or another network than the paper's."""
    out = []
    if (protocol.dataset, protocol.split) != (usual.dataset, usual.split):
        of = " ".join(x for x in (protocol.dataset, pathlib.Path(protocol.dir).name, protocol.split) if x)
        out.append(f"The paper's faces are of {usual.dataset}; these are of {of}")
    papers = dict(usual.networks) | ({"identity": usual.identity} if usual.identity else {})
    for kind, name in papers.items():
        mine = pathlib.Path(getattr(protocol, kind)).name
        if mine != name:
            out.append(f"The paper's {kind} network is {name}; here it is {mine}")
    return out


def check_labels(labels: Sequence[str]) -> None:
    """ValueError for a label of --beside that a figure gives to something else, or that comes twice."""
    for label in labels:
        if not label or label.lower() in ROWS or labels.count(label) > 1:
            why = "comes twice" if labels.count(label) > 1 else "is a name that every figure has"
            raise ValueError(f"--beside={label}=…: the label {why if label else 'is empty'}; give another")


def listing() -> list[str]:
    """A line for each figure, and what it takes: its faces, its network, further runs; and whether they are here."""
    lines = []
    for name, one in FIGURES.items():
        lines.append(f"{name:22}{one.protocol.title}")
        spec = datasets.specs().get(one.protocol.dataset)
        here = spec is not None and building.built(spec)
        takes = [f"{one.protocol.dataset} ({'built' if here else 'not built: --data=FOLDER'})"]
        if one.network:
            paper = getattr(one.protocol, one.network) or dict(one.protocol.networks)[one.network]
            takes.append(f"{paper} ({'present' if zoo.present(paper) else f'absent: jfsr port {paper}'})")
        takes += [f"--beside: {one.beside}"] if one.beside else []
        lines.append(f"{'':22}  {'; '.join(takes)}")
    return lines


def write(folder: pathlib.Path, drawing: Drawing, protocol: Protocol, provenance: Mapping[str, Any]) -> None:
    """A figure's files, each whole or not at all: figure.png, figure.csv with the numbers behind it, summary.json.

    Args:
      folder: is made.
      drawing, protocol: of :func:`draw`.
      provenance: what made it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files.write_bytes(folder / "figure.png", figures.png(drawing.picture))
    summary.write_csv(folder / "figure.csv", drawing.lines)
    record = {
        "title": protocol.title,
        "notes": drawing.notes,
        "protocol": protocol.text(),
        "protocol_id": protocol.digest(),
        "protocol_fields": protocol.fields(),
        **provenance,
    }
    files.write_json(folder / "summary.json", record)
