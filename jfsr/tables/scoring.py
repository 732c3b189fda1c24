"""One table scored from the data on disk to what is shown: what ``eval.py`` does between its options and its files.

A :class:`System` restores faces: a trained run, or a folder of another method's results. :class:`Judges` are the frozen
networks that read them. The data of a table is the user's folder, or what ``jfsr data build`` made of it.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from jfsr.data import datasets, pipeline
from jfsr.data.crops import Cropped
from jfsr.data.datasets import building
from jfsr.data.pairs import read_pairs_csv
from jfsr.evals import (
    direct,
    faces,
    gate,
    identification,
    identity,
    landmarks,
    pose,
    restoration,
    verification,
)
from jfsr.evals.faces import Faces
from jfsr.frozen import zoo
from jfsr.tables import columns, protocols, results
from jfsr.tables.protocols import Protocol
from jfsr.tables.results import Result

# Fixed, and every batch is full: one compiled program, so that a face's pixels do not depend on how many there are.
BATCH = 16


@dataclasses.dataclass(frozen=True)
class System:
    """What is scored.

    Attributes:
      name: for people.
      predict: see :data:`jfsr.evals.faces.Predict`; None: no system, the baselines alone.
      scale: HR over LR size.
      config: of the run; None for a folder of images.
      facts: its provenance, by name.
    """

    name: str
    predict: faces.Predict | None
    scale: int
    config: Any = None
    facts: dict[str, str] = dataclasses.field(default_factory=dict)


def run(restorer: Any, name: str) -> System:
    """A trained run or a bundle as a system."""
    from jfsr import config

    title = f"{restorer.method} ×{restorer.scale}, {name}"
    title += f", step {restorer.step}" if restorer.step is not None else ""
    facts = {"system": title, "config": config.config_hash(restorer.config), "parameters sha256": restorer.sha256}
    return System(name, lambda batch: restorer.outputs(batch["lr"]), restorer.scale, restorer.config, facts)


def images(folder: str, *, scale: int) -> System:
    """A folder of another method's results as a system."""
    return System(folder, faces.FromFolder(folder), scale, facts={"system": f"images of {folder}, ×{scale}"})


def baselines(*, scale: int) -> System:
    """No system: the original, bicubic and nearest alone."""
    return System("baselines", None, scale, facts={"system": f"none, the baselines at ×{scale}"})


@dataclasses.dataclass
class Judges:
    """Frozen networks by kind; None where there is none.

    Attributes:
      pose, identity, perceptual: (frozen network, variables).
      fsanet: the second pose network's reader.
      direct: reads poses off the low resolution itself.
      gate: says which faces need super-resolution.
      notes: why a kind is not scored.
    """

    pose: tuple[Any, Any] | None = None
    identity: tuple[Any, Any] | None = None
    perceptual: tuple[Any, Any] | None = None
    fsanet: pose.Read | None = None
    direct: pose.Read | None = None
    gate: gate.Decide | None = None
    notes: dict[str, str] = dataclasses.field(default_factory=dict)

    def name(self, kind: str) -> str:
        """The network of a kind, '' if there is none."""
        loaded = getattr(self, kind)
        return loaded[0].name if loaded else ""

    def facts(self) -> dict[str, str]:
        """Which weights read the faces."""
        from jfsr.training import runs

        out = {}
        for kind in ("pose", "identity", "perceptual"):
            if loaded := getattr(self, kind):
                out[f"{kind} network"] = loaded[0].name.rstrip("/").rsplit("/", 1)[-1]
                out[f"{kind} network sha256"] = runs.digest(loaded[1])
        return out


NOBODY = "as neither the run nor the table names a network for it"


def judge(kind: str, chosen: str | None, system: System, protocol: Protocol) -> tuple[Any, str]:
    """The network of a kind for a table: the one chosen, else the run's own, else the paper's; and why there is none.

    A table of pairs or of probes is about its identity network: there the paper's comes before the run's own.

    Args:
      kind: 'pose', 'identity' or 'perceptual'.
      chosen: a name or folder; 'none' for none; None where the user does not say.

    Returns:
      (frozen network, variables) or None, and the reason for None.

    Raises:
      ValueError: a network that the user or the run names cannot be loaded.
    """
    if chosen in ("", "none"):
        return None, f"--{kind}=none"
    own = (system.config or {}).get("frozen", {}).get(kind, "")
    if chosen or (own and kind == "pose"):
        return zoo.load(chosen or own), ""
    papers = dict(protocol.networks).get(kind, "")
    name = (own or papers) if protocol.task == "faces" else (papers or own)
    if not name:
        return None, NOBODY
    try:
        return zoo.load(name), ""
    except zoo.MissingWeights as error:
        return None, str(error)


# ---- Data


def lacks(protocol: Protocol) -> str:
    """'' if the table's faces are there (``protocol.dir``, a built set, or rendered by us); else what to do."""
    if protocol.dataset == "synthetic_heads" or protocol.dir:
        return ""
    if protocol.dataset == "folder":
        return "--data=FOLDER"
    spec = datasets.specs()[protocol.dataset]
    if building.built(spec):
        return ""
    return f"--data=FOLDER, the official {spec.title}, or 'jfsr data build {spec.name} --from FOLDER'"


@dataclasses.dataclass
class Data:
    """The faces of a table.

    Attributes:
      source: cropped faces; whole: the same, with those that cannot be used.
      unusable: why each of the others cannot be read or cropped.
    """

    source: faces.Pick
    whole: Any
    unusable: list[str]
    protocol: Protocol

    def batches(self, some: Any = None) -> Iterator[dict[str, Any]]:
        """Evaluation batches of all faces, or of some source of them."""
        return pipeline.eval_batches(
            self.source if some is None else some,
            scale=self.protocol.scale,
            batch=BATCH,
            ranges=self.protocol.misalign,
        )


def open_faces(protocol: Protocol) -> Cropped:
    """All the faces that a protocol names, cropped."""
    return pipeline.open_source(protocol, upright=bool(protocol.misalign and protocol.misalign.upright))


def open_data(protocol: Protocol, *, limit: int = 0) -> Data:
    """Opens a table's faces, and finds out which of them can be used."""
    whole = open_faces(protocol)
    source, unusable = faces.usable(whole, limit=limit)
    unusable += [f"{name}: {reason}" for name, reason in getattr(whole.source, "skipped", [])]
    return Data(source, whole, unusable, protocol)


def compared(system: System, data: Data, some: Any = None) -> Iterator[Faces]:
    """The faces of a table, restored, with a progress bar."""
    source = data.source if some is None else some
    with tqdm(total=len(source), desc=data.protocol.table, unit="face", disable=not sys.stderr.isatty()) as bar:
        for part in faces.compare(system.predict, data.batches(source)):
            yield part
            bar.update(len(part.names))


# ---- Tables


@dataclasses.dataclass
class Scored:
    """A table's result.

    Attributes:
      result: tables and facts.
      rows: of the CSV: one per face and method, per pair and method, or per probe and method.
      restore: the faces at some positions beside what the system makes of them, for pictures; None for pairs.
      read: the pose network's reading of 8-bit faces, for pictures; None where there is none.
      unusable: why faces could not be read or cropped.
    """

    result: Result
    rows: columns.Rows
    unusable: list[str]
    restore: Callable[[np.ndarray], list[Faces]] | None = None
    read: pose.Read | None = None


def score(system: System, judges: Judges, protocol: Protocol, *, limit: int = 0, min_images: int = 25) -> Scored:
    """Scores a table.

    Args:
      system: restores the faces.
      judges: read them.
      protocol: with ``scale`` and the networks' names filled in.
      limit: only the first so many faces, or pairs; 0 = all. Not of an identification.
      min_images: people with more faces than this take part in an identification.

    Raises:
      ValueError: what is wrong with the data, or a network is missing without which there is no score.
    """
    if protocol.task == "identification":
        return _ranks(system, judges, protocol, min_images=min_images)
    return (_pairs if protocol.task == "verification" else _faces)(system, judges, protocol, limit=limit)


def _faces(system: System, judges: Judges, protocol: Protocol, *, limit: int) -> Scored:
    if protocol.misalign and judges.direct:
        raise ValueError(
            f"--direct reads the misaligned input of {protocol.table!r}, whose labels are the upright face's"
        )
    data = open_data(protocol, limit=limit)
    read = pose.estimator(*judges.pose) if judges.pose else None
    embed = identity.embedder(*judges.identity) if judges.identity else None
    distance = restoration.distance(*judges.perceptual) if judges.perceptual else None
    unnamed = [kind for kind, why in judges.notes.items() if why == NOBODY]
    notes = [f"{kind.capitalize()} not scored: {why}" for kind, why in judges.notes.items() if why and why != NOBODY]
    if unnamed:
        notes.append(f"Not scored, {NOBODY}: {', '.join(f'{kind} (--{kind})' for kind in unnamed)}")
    parts: list[list[dict[str, Any]]] = [[] for _ in range(7)]
    quality, poses, second, gated, small, same, points = parts
    for some in compared(system, data):
        quality += restoration.run([some], protocol, distance)
        poses += pose.run([some], read) if read else []
        if judges.fsanet:
            second += [{**row, "method": f"{row['method']}@fsanet"} for row in pose.run([some], judges.fsanet)]
        if read and judges.gate and system.predict:
            gated += gate.run([some], read, judges.gate)
        small += direct.run([some], judges.direct) if judges.direct else []
        same += identity.run([some], embed) if embed else []
        points += landmarks.run([some], protocol)
    rows = columns.merge(*parts)
    if gated:
        right = lambda method: 100.0 * statistics.mean(row["right"] for row in gated if row["method"] == method)
        shares = ", ".join(f"{right(method):.1f} % of {shown}" for method, shown in gate.METHODS.items())
        notes.append(f"The gate decides rightly: {shares}")
    if read and all(row["dropped"] == "no pose label" for row in poses):
        notes.append(f"Pose errors not scored: no pose labels in {protocol.dir or data.source.name}")
    elif read and not judges.direct:
        notes.append(
            "Not shown: a pose network trained on the low resolution itself (--direct=RUN, of "
            f"configs/pose.py:lr{128 // protocol.scale})"
        )
    result = results.judge(
        rows,
        protocol,
        scale=protocol.scale,
        variants=protocols.variants(system.config),
        notes=notes,
        unusable=data.unusable,
    )
    # The faces to show are restored again rather than kept in memory.
    restore = lambda indices: list(faces.compare(system.predict, data.batches(faces.Pick(data.source, indices))))
    return Scored(result, rows, data.unusable, restore, read)


def _pairs(system: System, judges: Judges, protocol: Protocol, *, limit: int) -> Scored:
    embed = _identity(judges)
    data = open_data(protocol)
    whole = data.whole.source
    pairs = read_pairs_csv(whole.root / "pairs.csv") if protocol.dataset == "folder" else whole.pairs()
    pairs = pairs[:limit] if limit else pairs
    wanted = {name for pair in pairs for name in (pair.a, pair.b)}
    some = [i for i, index in enumerate(data.source.indices) if whole.name_of(index) in wanted]
    embeddings = verification.embed(compared(system, data, faces.Pick(data.source, some)), embed)
    rows = verification.run(embeddings, pairs, sides=protocol.sides)
    scores = verification.summarize(rows)
    result = results.judge_pairs(scores, protocol, scale=protocol.scale, variants=protocols.variants(system.config))
    return Scored(result, rows, data.unusable)


def _ranks(system: System, judges: Judges, protocol: Protocol, *, min_images: int) -> Scored:
    embed = _identity(judges)
    whole = open_faces(protocol)
    roles = identification.choose(whole, min_images=min_images)  # reads every face once
    data = Data(faces.Pick(whole, roles.indices), whole, roles.unusable, protocol)
    embeddings = verification.embed(compared(system, data), embed)
    rows = identification.run(embeddings, roles)
    result = results.judge_ranks(rows, protocol, scale=protocol.scale, variants=protocols.variants(system.config))
    return Scored(result, rows, roles.unusable)


def _identity(judges: Judges) -> identity.Embed:
    if not judges.identity:
        raise ValueError(f"no identity network: {judges.notes.get('identity', 'give --identity')}")
    return identity.embedder(*judges.identity)


def side_by_side(paths: Sequence[str]) -> columns.Table:
    """Two ``summary.json`` (or their folders) in one table; ValueError unless scored under one protocol."""
    import json
    import pathlib

    if len(paths) != 2:
        raise ValueError(f"--compare takes two results, joined by a comma; got {len(paths)}")
    files = [pathlib.Path(p) / "summary.json" if pathlib.Path(p).is_dir() else pathlib.Path(p) for p in paths]
    summaries = []
    for file in files:
        try:
            summaries.append(json.loads(file.read_text()))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file}: not a summary.json of eval.py ({error})") from error
    return results.compare(*summaries, names=(paths[0], paths[1]))
