"""One table from its faces to its result: what ``eval.py`` does between its options and its files.

A :class:`System` restores faces: a trained run, or a folder of another method's results. :class:`Networks` are what
reads them. The faces of a table are the user's folder, or what ``jfsr data build`` made of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from jfsr import config, evals, files
from jfsr.data import boxes, datasets, pipeline
from jfsr.data.boxes import Boxed
from jfsr.data.crops import Cropped
from jfsr.data.csvfile import find
from jfsr.data.datasets import building
from jfsr.data.operators import NATIVE
from jfsr.data.pairs import Pair, evenly, read_pairs_csv
from jfsr.evals import Context, faces, gallery
from jfsr.evals.faces import Faces, Line
from jfsr.evals.gallery import Roles
from jfsr.frozen import zoo
from jfsr.geometry import HR_SIZE
from jfsr.tables import protocols, results, summary, variants
from jfsr.tables.protocols import Protocol
from jfsr.tables.results import Result
from jfsr.training import runs

# Fixed, and every batch is full: one compiled program, so that a face's pixels do not depend on how many there are.
BATCH = 16


# ---- Systems


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

    @property
    def hr_size(self) -> int:
        """Side of a restored face in pixels: that of the run, else 128."""
        return (self.config or {}).get("data", {}).get("hr_size", HR_SIZE)


def run(restorer: Any, name: str) -> System:
    """A trained run or a bundle, opened by :func:`jfsr.load`, as a system."""
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


# ---- Networks


NO_NETWORK = "no network configured"


@dataclasses.dataclass(frozen=True)
class Networks:
    """The frozen networks that read the faces of one table.

    Attributes:
      by_kind: (network, variables) by kind, see :func:`jfsr.evals.kinds`.
      missing: why there is none of a kind.
      opinions: further programs that read poses, by evaluator: 'fsanet', 'direct', 'gate'.
    """

    by_kind: Mapping[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    opinions: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)

    def names(self) -> dict[str, str]:
        """Name of the network of every kind, '' where there is none."""
        return {kind: self.by_kind[kind][0].name if kind in self.by_kind else "" for kind in evals.kinds()}

    def facts(self) -> dict[str, str]:
        """Which weights read the faces."""
        out = {}
        for kind, (network, variables) in self.by_kind.items():
            out[f"{kind} network"] = network.name.rstrip("/").rsplit("/", 1)[-1]
            out[f"{kind} network sha256"] = runs.digest(variables)
        return out

    def notes(self) -> list[str]:
        """Sentences on the kinds that are not scored."""
        told = {kind: why for kind, why in self.missing.items() if why and why != NO_NETWORK}
        unnamed = [kind for kind, why in self.missing.items() if why == NO_NETWORK]
        out = [f"{kind.capitalize()} not scored: {why}" for kind, why in told.items()]
        if unnamed:
            out.append(f"Not scored, {NO_NETWORK}: {', '.join(f'{kind} (--{kind})' for kind in unnamed)}")
        return out


def networks(
    chosen: Mapping[str, str | None],
    system: System,
    protocol: Protocol,
    *,
    opinions: Mapping[str, Callable[..., Any]] | None = None,
) -> Networks:
    """Loads the networks of a table.

    Args:
      chosen: what the user names by kind: a name or a folder, 'none' for none, None where the user says nothing.
      system: its own networks come next.
      protocol: names the paper's.
      opinions: see :class:`Networks`.

    Raises:
      ValueError: a network that the user or the run names cannot be loaded.
    """
    pairs = {kind: network_for(kind, chosen.get(kind), system, protocol) for kind in evals.kinds()}
    by_kind = {kind: loaded for kind, (loaded, _) in pairs.items() if loaded is not None}
    return Networks(by_kind, {kind: why for kind, (loaded, why) in pairs.items() if loaded is None}, opinions or {})


def network_for(kind: str, chosen: str | None, system: System, protocol: Protocol) -> tuple[Any, str]:
    """The network of a kind for a table: the one chosen, else the run's own, else the paper's; and why there is none.

    A table of pairs or of probes is about its identity network: there the paper's comes before the run's own.

    Args:
      kind: of the network.
      chosen: a name or folder; 'none' for none; None where the user says nothing.
      system: whose config may name one.
      protocol: whose paper may name one.

    Returns:
      (network, variables) or None, and the reason for None.

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
        return None, NO_NETWORK
    try:
        return zoo.load(name), ""
    except zoo.MissingWeights as error:
        return None, str(error)


def opinions(
    *, fsanet: str | None = None, direct: str | None = None, gate: str | None = None
) -> dict[str, Callable[..., Any]]:
    """Further programs that read poses, by evaluator, as :attr:`Networks.opinions` holds them.

    Args:
      fsanet: folder of FSA-Net's two files.
      direct: run of a pose network that was trained on the low resolution.
      gate: run of a gate.

    Raises:
      ValueError: files that are not these, or a run of another method.
    """
    out: dict[str, Callable[..., Any]] = {}
    if fsanet:
        out["fsanet"] = evals.find("fsanet").program(fsanet)
    if direct:
        out["direct"] = evals.find("direct").program(runs.checked_config(direct), runs.load_variables(direct)[0])
    if gate:
        config_of_gate = runs.checked_config(gate)
        pose = zoo.load(config_of_gate.frozen.pose)[1] if config_of_gate.method == "gate" else {}
        out["gate"] = evals.find("gate").program(config_of_gate, runs.load_variables(gate)[0], {"pose": pose})
    return out


# ---- Faces


def lacks(protocol: Protocol) -> str:
    """'' if the table's faces are there (``protocol.dir``, a built set, or rendered by us); else what to do."""
    if protocol.dataset == "synthetic_heads" or (protocol.dataset == "folder" and protocol.dir):
        return ""
    if protocol.dataset == "folder":
        return "--data=FOLDER"
    spec = datasets.specs()[protocol.dataset]
    if not protocol.dir and not building.built(spec):
        return f"--data=FOLDER, the official {spec.title}, or 'jfsr data build {spec.name} --from FOLDER'"
    split = protocol.split or next(iter(spec.counts))  # an unknown split is said where the faces are opened
    return boxes.lacks(spec.name, protocol.dir, split, rule=protocol.crop, points=spec.points)


@dataclasses.dataclass
class Data:
    """The faces of a table.

    Attributes:
      source: the faces that are scored, cropped.
      all_faces: the same, including unusable ones and those that no pair or role asks for.
      unusable: why each of the others cannot be read or cropped.
      protocol: which faces, how they are made small.
    """

    source: faces.Pick
    all_faces: Any
    unusable: list[str]
    protocol: Protocol

    def notes(self) -> list[str]:
        """Which file of boxes the crops are of, if they are MTCNN's."""
        boxed = self.all_faces.source
        if not isinstance(boxed, Boxed):
            return []
        absent = sum(line.face is None for line in boxed.lines.values())
        made = f"{boxed.file.name}, sha256 {files.sha256(boxed.file)[:12]}"
        return [f"Faces found by MTCNN: {made}; {absent} of {len(boxed.lines)} not found"]

    def batches(self, source: Any = None) -> Iterator[dict[str, Any]]:
        """Evaluation batches of the faces, or of another source."""
        return pipeline.eval_batches(
            self.source if source is None else source,
            scale=self.protocol.scale,
            batch=BATCH,
            ranges=self.protocol.misalign,
            lr_operator=self.protocol.lr_operator,
        )

    def restored(self, predict: faces.Predict | None, source: Any = None) -> Iterator[Faces]:
        """The faces, or those of another source, beside what a system makes of them."""
        return faces.compare(predict, self.batches(source), lr_operator=self.protocol.lr_operator)


def open_faces(protocol: Protocol) -> Cropped:
    """All the faces that a protocol names, cropped; with their native low resolution if that is the operator."""
    return pipeline.open_source(
        protocol,
        upright=bool(protocol.misalign and protocol.misalign.upright),
        low=protocol.hr_size // protocol.scale if protocol.lr_operator == NATIVE else 0,
        size=protocol.hr_size,
    )


def open_data(protocol: Protocol, *, limit: int = 0) -> Data:
    """Opens a table's faces and tells the usable ones from the others."""
    all_faces = open_faces(protocol)
    source, unusable = faces.usable(all_faces, limit=limit)
    unusable += [f"{name}: {reason}" for name, reason in all_faces.source.skipped]
    return Data(source, all_faces, unusable, protocol)


def restored(system: System, data: Data) -> Iterator[Faces]:
    """The faces of a table beside what the system makes of them, with a progress bar."""
    hide = not sys.stderr.isatty()
    with tqdm(total=len(data.source), desc=data.protocol.name, unit="face", disable=hide) as bar:
        for batch in data.restored(system.predict):
            yield batch
            bar.update(len(batch.names))


# ---- Tables


WHICH = ("name", "a", "b", "same")  # what of a line says which face, pair or probe it is of


@dataclasses.dataclass
class Scored:
    """A table's result, and what pictures of it are drawn from.

    Attributes:
      result: tables and facts.
      lines: of the CSV: one per face, pair or probe, and row.
      data: the faces.
      system: restored them.
      programs: the compiled programs that read them, by evaluator.
    """

    result: Result
    lines: list[Line]
    data: Data
    system: System
    programs: Mapping[str, Callable[..., Any]]

    def identified(self) -> dict[str, Any]:
        """How many faces, pairs or probes were scored, and a digest of which: a part is not comparable to the whole."""
        rows = [line for line in self.lines if line["row"] == summary.subject_row(self.lines)]
        names = sorted(json.dumps({k: v for k, v in line.items() if k in WHICH}, sort_keys=True) for line in rows)
        return {"count": len(names), "sha256": hashlib.sha256("\n".join(names).encode()).hexdigest()}

    def faces_at(self, positions: Sequence[int]) -> list[Faces]:
        """Some faces restored once more, by their positions: for pictures, rather than keeping all in memory."""
        source = faces.Pick(self.data.source, positions)
        return list(self.data.restored(self.system.predict, source))


def score(system: System, networks: Networks, protocol: Protocol, *, limit: int = 0, min_images: int = 25) -> Scored:
    """Scores a table.

    Args:
      system: restores the faces.
      networks: read them.
      protocol: what is scored and how; its scale and its networks' names are those of the system and the networks.
      limit: only the first so many faces, or so many pairs, evenly over the folds; 0 = all. Identification takes no
        limit.
      min_images: people with more faces than this take part in an identification.

    Raises:
      ValueError: what is wrong with the data, or a network is missing without which there is no score.
    """
    protocol = protocols.replace(protocol, {**networks.names(), "scale": system.scale, "hr_size": system.hr_size})
    if protocol.misalign and "direct" in networks.opinions:
        raise ValueError(
            f"--direct reads the misaligned input of {protocol.name!r}, whose labels are the upright face's"
        )
    if protocol.task != "faces" and "identity" not in networks.by_kind:
        raise ValueError(f"no identity network: {networks.missing.get('identity', 'give --identity')}")
    evaluators = evals.evaluators(protocol.task)
    programs = {**evals.programs(protocol.task, networks.by_kind), **networks.opinions}
    data, pairs, roles = _select(protocol, limit=limit, min_images=min_images)
    context = Context(
        programs=programs,
        region=protocol.region,
        border=protocol.border,
        normaliser=protocol.normaliser,
        sides=protocol.sides,
        scale=protocol.scale,
        source=protocol.dir or data.all_faces.name,
        pairs=pairs,
        roles=roles,
    )
    if protocol.task == "faces":
        found: dict[str, list[Line]] = {name: [] for name in evaluators}
        for batch in restored(system, data):
            for name, evaluator in evaluators.items():
                found[name] += evaluator.run([batch], context)
        lines = summary.merge(*found.values())
    else:
        (evaluator,) = evaluators.values()
        lines = evaluator.run(restored(system, data), context)
    result = results.of_lines(
        lines,
        protocol,
        context,
        claim=variants.find(system.config),
        notes=[*(networks.notes() if protocol.task == "faces" else []), *data.notes()],
        unusable=data.unusable,
    )
    return Scored(result, lines, data, system, programs)


def write(folder: pathlib.Path, scored: Scored, record: Mapping[str, Any]) -> None:
    """table.md, images.csv and summary.json of a scored table, each whole or not at all.

    Args:
      folder: must exist.
      scored: the table.
      record: further entries of summary.json: what made the numbers, the pictures.
    """
    result, protocol = scored.result, scored.data.protocol
    scores = {row: {key: i._asdict() for key, i in means.items()} for row, means in result.summary.items()}
    entries = {
        "title": result.title,
        "protocol": result.protocol,
        "protocol_id": protocol.digest(),
        "protocol_fields": protocol.fields(),
        "faces": scored.identified(),
        **record,
        "scores": scores,
        "gap_closed_percent": summary.gap_closed(result.summary),
        "dropped": result.dropped,
        "unusable": scored.data.unusable,
        "facts": result.facts,
    }
    files.write_text(folder / "table.md", result.markdown())
    files.write_json(folder / "summary.json", entries)
    summary.write_csv(folder / "images.csv", scored.lines)


def write_faces(protocol: Protocol, folder: pathlib.Path, *, scale: int, limit: int = 0) -> tuple[Protocol, list[str]]:
    """Writes a table's faces for another method to restore: ``lr/NAME.png``, what a system gets, and ``hr/NAME.png``.

    A method's results, 128×128 and named alike, are then scored by :func:`images` under the same protocol.

    Args:
      protocol: which faces, and how they are made small.
      folder: is made; faces that are there already are written again.
      scale: HR over LR size.
      limit: only the first so many faces; 0 = all.

    Returns:
      The protocol with the scale, and why faces could not be read or cropped.

    Raises:
      ValueError: no face can be read, or two faces would be one file.
    """
    protocol = protocols.replace(protocol, {"scale": scale})
    data = open_data(protocol, limit=limit)
    names: dict[str, str] = {}
    for batch in data.restored(None):
        for i, name in enumerate(batch.names):
            file = pathlib.PurePosixPath(name).with_suffix(".png")
            if names.setdefault(str(file).lower(), name) != name:
                raise ValueError(f"the faces {names[str(file).lower()]!r} and {name!r} would both be {file}")
            for kind, image in (("lr", batch.lr[i]), ("hr", batch.images["original"][i])):
                (folder / kind / file).parent.mkdir(parents=True, exist_ok=True)
                files.write_bytes(folder / kind / file, _png(image))
    return protocol, data.unusable


def _png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def _select(protocol: Protocol, *, limit: int, min_images: int) -> tuple[Data, Sequence[Pair], Roles | None]:
    """The faces that a table scores, and who is compared with whom."""
    if protocol.task == "identification":
        all_faces = open_faces(protocol)
        roles = gallery.choose(all_faces, min_images=min_images)  # reads every face once
        return Data(faces.Pick(all_faces, roles.indices), all_faces, roles.unusable, protocol), (), roles
    if protocol.task == "faces":
        return open_data(protocol, limit=limit), (), None
    data = open_data(protocol)
    pictures = data.all_faces.source
    pairs = read_pairs_csv(find(pictures.root, "pairs.csv")) if protocol.dataset == "folder" else pictures.pairs()
    pairs = evenly(pairs, limit) if limit else pairs
    wanted = {name for pair in pairs for name in (pair.a, pair.b)}
    indices = [index for index in data.source.indices if pictures.name_of(index) in wanted]
    return dataclasses.replace(data, source=faces.Pick(data.all_faces, indices)), pairs, None
