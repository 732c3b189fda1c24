"""Scores a trained system: python eval.py --workdir=runs/quick --tables=synthetic.

Writes table.md, summary.json, images.csv (every face), report.html and its pictures. --list names the tables.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Optional: an error unless the run was made with it.", lock_config=True)
flags.DEFINE_string("workdir", None, "Workdir of train.py to score.")
flags.DEFINE_string("checkpoint", None, "The same, or a bundle of 'jfsr export'.")
flags.DEFINE_string("step", "best", "Which checkpoint of a workdir: best, last or a number.")
flags.DEFINE_list("tables", ["synthetic"], "Tables to make, joined by commas; see --list.")
flags.DEFINE_bool("list", False, "Names the tables and what they need, and ends.")
flags.DEFINE_string("data", None, "Folder of the faces, for tables that need one.")
flags.DEFINE_string("split", None, "Another split than the table's.")
flags.DEFINE_string("crop", None, "Another crop rule than the table's; see jfsr/data/crops.py.")
flags.DEFINE_float("margin", None, "Another margin of the crop than the table's.")
flags.DEFINE_integer("scale", None, "HR over LR size; an error unless it is the system's own.")
flags.DEFINE_string("pose", None, "Pose network, by name or folder, or 'none'; by default the run's own (frozen.pose).")
flags.DEFINE_string(
    "identity", None, "Identity network, as --pose; by default the run's own (frozen.identity), or none."
)
flags.DEFINE_string("out", None, "Folder for the results; by default eval/TABLE in the workdir or bundle.")
flags.DEFINE_integer("limit", 0, "Only the first so many faces; 0 = all.")

# Fixed, and every batch is full: one compiled program, so that a face's pixels do not depend on how many there are.
BATCH = 16


def main(argv: list[str]) -> None:
    """Options, system, and for each table: data, scores, files."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; see --help")
    # Orbax and TFDS tell a lot at INFO and WARNING; --verbosity=0 shows it. What matters here is printed.
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)
    try:
        run()
    except (ValueError, OSError) as error:
        print(f"eval.py: {error}", file=sys.stderr)
        sys.exit(2)


def run() -> None:
    """What main does, with errors as exceptions."""
    from jfsr import protocols

    # ---- Options: everything that can be wrong is said before anything is computed.
    if FLAGS.list:
        for name, table in protocols.TABLES.items():
            needs = "   needs --data=FOLDER" if table.needs_folder else ""
            print(f"{name:16}{table.title}{needs}")
        return
    tables = [protocols.choose(name.strip()) for name in FLAGS.tables]
    if bool(FLAGS.workdir) == bool(FLAGS.checkpoint):
        raise ValueError("give the system to score: either --workdir=DIR or --checkpoint=DIR")
    for table in tables:
        if table.needs_folder and not FLAGS.data:
            raise ValueError(f"table {table.table!r} needs its faces: --data=FOLDER ({table.title})")
    for flag, read in (("data", any(t.needs_folder for t in tables)), ("split", any(t.split for t in tables))):
        if FLAGS[flag].value and not read:
            raise ValueError(f"--{flag}={FLAGS[flag].value} is read by none of the tables {', '.join(FLAGS.tables)}")

    # ---- System, pose network, identity network
    import jax

    from jfsr import api
    from jfsr.frozen import zoo

    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path("~/.cache/jfsr/jax").expanduser()))
    path = pathlib.Path(FLAGS.workdir or FLAGS.checkpoint)
    system = api.load(path, step=int(FLAGS.step) if FLAGS.step.isdigit() else FLAGS.step)
    check(system)
    pose = system.config.get("frozen", {}).get("pose", "") if FLAGS.pose is None else FLAGS.pose
    notes = []
    if pose in ("", "none"):
        pose, ruler = "", None
        notes.append(
            "Pose not scored: " + ("--pose=none" if FLAGS.pose else "the run names no pose network; give --pose")
        )
    else:
        ruler = zoo.load(pose)
    who = system.config.get("frozen", {}).get("identity", "") if FLAGS.identity is None else FLAGS.identity
    who, identifier = (who, zoo.load(who)) if who not in ("", "none") else ("", None)

    # ---- One table after the other
    for table in tables:
        # Synthetic heads never lie in the user's folder: they would be rendered into it.
        chosen = {"dir": FLAGS.data} if table.needs_folder else {"split": FLAGS.split}
        chosen |= {"crop": FLAGS.crop, "margin": FLAGS.margin}
        protocol = protocols.choose(table.table, {**chosen, "pose": pose, "identity": who, "scale": system.scale})
        folder = pathlib.Path(FLAGS.out) if FLAGS.out else path / "eval"
        if not FLAGS.out or len(tables) > 1:
            folder /= table.table.replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        score(system, ruler, identifier, protocol, folder, list(notes))


def check(system: Any) -> None:
    """ValueError if --config or --scale say something else than the system's own config."""
    from jfsr import checkpoint, config

    if FLAGS.scale and FLAGS.scale != system.scale:
        raise ValueError(f"--scale={FLAGS.scale}, but this system restores ×{system.scale}")
    if FLAGS.config is not None:
        changed = config.diff(system.config, FLAGS.config)
        changed = {k: v for k, v in changed.items() if not {k, k.split(".")[0]} & checkpoint.FREE}
        if changed:
            shown = "\n  ".join(f"{key}: {values}" for key, values in changed.items())
            raise ValueError(f"the run has another config than --config (run -> --config):\n  {shown}")


def score(system: Any, ruler: Any, identifier: Any, protocol: Any, folder: pathlib.Path, notes: list[str]) -> None:
    """Scores one table and writes its folder."""
    from ml_collections import ConfigDict
    from tqdm import tqdm

    from jfsr import protocols, report, tables
    from jfsr.data import pipeline
    from jfsr.evals import faces, identity, landmarks, pose, restoration

    # ---- Data
    section = {k: getattr(protocol, k) for k in ("reader", "dir", "split", "crop", "margin")}
    upright = bool(protocol.misalign and protocol.misalign.upright)
    whole = pipeline.open_source(ConfigDict({**section, "weight": 1.0}), upright=upright)
    source, unusable = faces.usable(whole, limit=FLAGS.limit)
    unusable += [f"{name}: {reason}" for name, reason in getattr(whole.source, "skipped", [])]
    batches = lambda some: pipeline.eval_batches(some, scale=system.scale, batch=BATCH, ranges=protocol.misalign)

    # ---- Scores, face by face
    read = pose.reader(*ruler) if ruler else None
    embed = identity.reader(*identifier) if identifier else None
    quality, poses, same, points = [], [], [], []
    with tqdm(total=len(source), desc=protocol.table, unit="face", disable=not sys.stderr.isatty()) as bar:
        for some in faces.compare(system.outputs, batches(source)):
            quality += restoration.run([some], protocol)
            poses += pose.run([some], read) if read else []
            same += identity.run([some], embed) if embed else []
            points += landmarks.run([some], protocol)
            bar.update(len(some.names))
    rows = tables.merge(quality, poses, same, points)
    if read and all(row["dropped"] == "no pose label" for row in poses):
        notes.append(f"Pose errors not scored: no pose labels in {protocol.dir or source.name}")

    # ---- Table
    variant = protocols.ablation(system.config) if system.method == "msgan" else ""
    result = tables.judge(rows, protocol, scale=system.scale, variant=variant, notes=notes, unusable=unusable)
    print(result.markdown())

    # ---- Pictures: the faces to show are restored again rather than kept in memory
    restore = lambda indices: list(faces.compare(system.outputs, batches(faces.Pick(source, indices))))
    pictures = report.pictures(rows, restore, read)

    # ---- Files
    provenance = describe(system, ruler, identifier, path=FLAGS.workdir or FLAGS.checkpoint)
    write(folder, result, rows, pictures, provenance, unusable)
    print(f"{folder}: table.md, summary.json, images.csv, report.html")


def describe(system: Any, ruler: Any, identifier: Any, *, path: str) -> dict[str, str]:
    """What made the numbers: config, parameters, code, versions."""
    import jax

    import jfsr
    from jfsr import config, export

    out = {
        "system": f"{system.method} ×{system.scale}, {pathlib.Path(path).name}"
        + (f", step {system.step}" if system.step is not None else ""),
        "config": config.config_hash(system.config),
        "parameters sha256": system.sha256,
    }
    for kind, loaded in {"pose": ruler, "identity": identifier}.items():
        if loaded:
            out[f"{kind} network"] = pathlib.Path(loaded[0].name).name
            out[f"{kind} network sha256"] = export.digest(loaded[1])
    out["jfsr"] = f"{jfsr.__version__}, commit {export.commit()}"
    libraries = ("jax", "flax", "numpy", "pillow")
    out["versions"] = ", ".join([f"Python {platform.python_version()}"]
                                + [f"{name} {importlib.metadata.version(name)}" for name in libraries])  # fmt: skip
    out["device"] = jax.devices()[0].device_kind
    return out


def write(
    folder: pathlib.Path, result: Any, rows: Any, pictures: dict, provenance: dict[str, str], unusable: list[str]
) -> None:
    """Every file of a table, each whole or not at all."""
    from jfsr import figures, report, tables
    from jfsr.checkpoint import write_atomic

    scores = {method: {key: i._asdict() for key, i in of.items()} for method, of in result.summary.items()}
    drawn = {heading: f"{heading.lower().replace(' ', '_').replace(chr(39), '')}.png" for heading in pictures}
    if (folder / "summary.json").exists():  # pictures of an earlier result that this one does not have
        earlier = json.loads((folder / "summary.json").read_text()).get("pictures", [])
        for name in set(earlier) - set(drawn.values()):
            (folder / pathlib.Path(name).name).unlink(missing_ok=True)
    summary = {
        "title": result.title,
        "protocol": result.protocol,
        **provenance,
        "scores": scores,
        "gap_closed_percent": tables.gap_closed(result.summary),
        "dropped": tables.dropped(rows, unusable),
        "unusable": unusable,
        "facts": result.facts,
        "pictures": sorted(drawn.values()),
    }
    write_atomic(folder / "table.md", result.markdown())
    write_atomic(folder / "summary.json", json.dumps(no_nan(summary), indent=1, ensure_ascii=False) + "\n")
    tables.write_csv(folder / "images.csv", rows)
    for heading, (image, _) in pictures.items():
        file = folder / drawn[heading]
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        draft.write_bytes(figures.png(image))
        draft.replace(file)
    write_atomic(folder / "report.html", report.page(result, pictures, provenance))


def no_nan(value: Any) -> Any:
    """NaN and infinities as null, which JSON has a word for."""
    if isinstance(value, dict):
        return {k: no_nan(v) for k, v in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return None
    return value


if __name__ == "__main__":
    app.run(main)
