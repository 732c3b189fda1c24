"""Scores a system: python eval.py --workdir=runs/quick --tables=synthetic.

Writes table.md, summary.json, images.csv (every face, pair or probe), report.html and its pictures. The system is a
workdir of train.py, a bundle of 'jfsr export', or a folder of another method's images (--images). --list names the
tables and figures and what each still needs here. Without a system, --scale and --out score the baselines alone.

--figures=msgan/f9,mtun/f3 draws the papers' figures instead: figure.png, figure.csv (the numbers behind it) and
summary.json, each figure in its folder of eval/figures.
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

from jfsr import config as configs

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Optional: an error unless the run was made with it.", lock_config=True)
flags.DEFINE_string("workdir", None, "Workdir of train.py to score.")
flags.DEFINE_string("checkpoint", None, "The same, or a bundle of 'jfsr export'.")
flags.DEFINE_string("images", None, "Folder of another method's 128×128 results, named after the faces; with --scale.")
flags.DEFINE_string("step", "best", "Which checkpoint of a workdir: best, last or a number.")
flags.DEFINE_list("tables", None, "Tables to make, joined by commas; see --list. 'synthetic' if nothing is named.")
flags.DEFINE_list("figures", None, "Figures of the papers to draw, joined by commas, instead of tables; see --list.")
flags.DEFINE_list("beside", None, "More systems in a figure: LABEL=RUN, or LABEL=FOLDER of another method's images, …")
flags.DEFINE_bool("list", False, "Names the tables and figures and what they need, and ends.")
flags.DEFINE_list("compare", None, "Two result folders (or summary.json), joined by a comma, side by side; then ends.")
flags.DEFINE_list(
    "data",
    None,
    "Folder of the faces; for tables of several data sets DATASET=FOLDER,… (aflw2000=A,biwi=B). Every figure can "
    "be drawn of your own faces, folder=FOLDER, and of rendered ones, synthetic_heads.",
)
flags.DEFINE_string("split", None, "Another split than the table's.")
flags.DEFINE_string("crop", None, "Another crop rule than the table's; see jfsr/data/crops.py.")
flags.DEFINE_float("margin", None, "Another margin of the crop than the table's.")
flags.DEFINE_integer("scale", None, "HR over LR size; an error unless it is the system's own.")
flags.DEFINE_string("pose", None, "Pose network, by name or folder, or 'none'; by default the run's own (frozen.pose).")
flags.DEFINE_string("identity", None, "Identity network, as --pose; by default the run's own, else the paper's.")
flags.DEFINE_string("perceptual", None, "LPIPS network, as --identity.")
flags.DEFINE_string("fsanet", None, "Folder of FSA-Net's two .onnx files: a second opinion on every pose.")
flags.DEFINE_string("direct", None, "Run of configs/pose.py:lr16 or lr8: a pose network trained on the low resolution.")
flags.DEFINE_string("gate", None, "Run of configs/gate.py: decides which faces are restored before their pose is read.")
flags.DEFINE_integer("min_images", 25, "Identification: people with more faces than this.")
flags.DEFINE_string("out", None, "Folder for the results; by default eval/TABLE in the workdir or bundle.")
flags.DEFINE_integer("limit", 0, "Only the first so many faces, or pairs; 0 = all.")


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
    from jfsr.tables import protocols, scoring

    if FLAGS.list:
        print(listing())
        return
    if FLAGS.compare:
        print(scoring.side_by_side(FLAGS.compare).markdown())
        return

    if FLAGS.figures:
        draw()
        return

    # ---- Options: everything that can be wrong is said before anything is computed.
    if FLAGS.beside:
        raise ValueError("--beside is read by --figures alone; --compare puts the scores of two systems side by side")
    chosen = wanted_tables()
    check_system()

    # ---- System and the networks that read no originals
    keep_programs()
    path = pathlib.Path(FLAGS.workdir or FLAGS.checkpoint or FLAGS.out)
    system = the_system(path)
    judges = second_opinions()

    # ---- One table after the other
    for table in chosen:
        for kind in ("pose", "identity", "perceptual"):
            network, why = scoring.judge(kind, FLAGS[kind].value, system, table)
            setattr(judges, kind, network)
            judges.notes[kind] = why
        fields = {kind: judges.name(kind) for kind in ("pose", "identity", "perceptual")}
        protocol = protocols.replace(table, {**fields, "scale": system.scale})
        folder = pathlib.Path(FLAGS.out) if FLAGS.out else path / "eval"
        if not FLAGS.out or len(chosen) > 1:
            folder /= table.table.replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        scored = scoring.score(system, judges, protocol, limit=FLAGS.limit, min_images=FLAGS.min_images)
        print(scored.result.markdown())
        write(folder, scored, protocol, describe(system, judges))
        print(f"{folder}: table.md, summary.json, images.csv, report.html")


def draw() -> None:
    """--figures: the papers' figures; those whose faces or network are not here are left out and named.

    Raises:
      ValueError: an option that is wrong, or not one figure can be drawn.
    """
    from jfsr.drawing import papers
    from jfsr.tables import scoring

    # ---- Options
    if FLAGS.tables:
        raise ValueError("--tables and --figures are two commands; give one of them")
    names = [name.strip() for name in FLAGS.figures]
    folders = data_folders({papers.figure(name).protocol.dataset for name in names})
    fields = {"split": FLAGS.split, "crop": FLAGS.crop, "margin": FLAGS.margin}
    found, absent = papers.choose(names, folders, fields)
    if FLAGS.beside and not any(papers.figure(name).beside for name in names):
        raise ValueError(f"--beside={','.join(FLAGS.beside)} is read by none of the figures {', '.join(names)}")
    alone = not (FLAGS.workdir or FLAGS.checkpoint or FLAGS.images)
    if alone and any(papers.figure(name).system for name in names):
        raise ValueError("the figures show a system: give one of --workdir=DIR, --checkpoint=DIR and --images=DIR")
    if alone and not FLAGS.out:
        raise ValueError("give --out, a folder for the figures, or a system")
    if not alone:
        check_system()

    # ---- Systems
    keep_programs()
    path = pathlib.Path(FLAGS.workdir or FLAGS.checkpoint or FLAGS.out)
    system = scoring.baselines(scale=FLAGS.scale or 8) if alone else the_system(path)
    systems = {papers.OURS: system, **systems_beside(system.scale)}

    # ---- One figure after the other
    for name, protocol in found.items():
        try:
            net = papers.network(name, FLAGS[papers.figure(name).network or "pose"].value, system, protocol)
        except ValueError as error:
            absent[name] = str(error)
            continue
        drawing, protocol = papers.draw(name, protocol, systems, net, limit=FLAGS.limit)
        folder = (pathlib.Path(FLAGS.out) if FLAGS.out else path / "eval") / "figures" / name.replace("/", "_")
        judges = scoring.Judges()
        if net:
            setattr(judges, net[0].kind, net)
        beside = {label: other.facts for label, other in systems.items() if other is not system}
        papers.write(folder, drawing, protocol, {**describe(system, judges), "beside": beside})
        print("\n- ".join([protocol.title, *drawing.notes]))
        print(f"{folder}: figure.png, figure.csv, summary.json")
    if len(absent) == len(names):
        raise ValueError("; ".join(absent.values()))
    for note in absent.values():
        print(f"left out: {note}", file=sys.stderr)


def systems_beside(scale: int) -> dict[str, Any]:
    """The systems of --beside by label: runs and bundles, and folders of images at the given scale."""
    from jfsr import api
    from jfsr.drawing import papers
    from jfsr.tables import scoring

    entries = [entry.partition("=") for entry in FLAGS.beside or []]
    for label, equals, folder in entries:
        if not equals or not folder:
            raise ValueError(f"--beside={label}: it takes LABEL=RUN or LABEL=FOLDER")
    papers.check_labels([label for label, _, _ in entries])
    step = int(FLAGS.step) if FLAGS.step.isdigit() else FLAGS.step
    out = {}
    for label, _, folder in entries:
        is_run = (pathlib.Path(folder) / "config.json").exists()
        out[label] = scoring.run(api.load(folder, step=step), label) if is_run else scoring.images(folder, scale=scale)
    return out


def check_system() -> None:
    """ValueError unless the options name one system."""
    given = sum(map(bool, (FLAGS.workdir, FLAGS.checkpoint, FLAGS.images)))
    if given > 1 or not (given or FLAGS.scale):
        raise ValueError(
            "give the system to score: one of --workdir=DIR, --checkpoint=DIR and --images=DIR (or --scale and --out "
            "alone, for the baselines)"
        )
    if FLAGS.images and not FLAGS.scale:
        raise ValueError("--images needs --scale, HR over LR size: bicubic, beside it, starts from that low resolution")
    if not (FLAGS.workdir or FLAGS.checkpoint or FLAGS.out):
        raise ValueError("--images, and the baselines alone, need --out, a folder for the results")


def keep_programs() -> None:
    """Compiled programs are kept on disk, for the next call."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(pathlib.Path("~/.cache/jfsr/jax").expanduser()))


def wanted_tables() -> list[Any]:
    """The protocols of --tables, with the user's data; parts of a table whose data is not here are left out and named.

    Raises:
      ValueError: an unknown table, an option that nothing reads, or no table with its data.
    """
    from jfsr.tables import protocols, scoring

    datasets = {protocols.TABLES[p].dataset for n in FLAGS.tables or [] for p in protocols.parts(n.strip())}
    folders = data_folders(datasets)
    found, absent, read = [], {}, set()
    for name in FLAGS.tables or ["synthetic"]:
        for part in protocols.parts(name.strip()):
            table = protocols.TABLES[part]
            # Synthetic heads never lie in the user's folder: they would be rendered into it.
            mine = table.dataset if table.dataset in folders else ""
            dir = folders.get(mine, "") if table.dataset != "synthetic_heads" else ""
            read |= {mine} if dir else set()
            split = FLAGS.split if table.dataset != "folder" else None
            table = protocols.choose(part, {"dir": dir, "split": split, "crop": FLAGS.crop, "margin": FLAGS.margin})
            lacking = scoring.lacks(table)
            if lacking:
                absent[part] = f"table {part!r} needs its faces: {lacking}"
            else:
                found.append(table)
    if unread := set(folders) - read:
        given = ", ".join(folders[dataset] or dataset for dataset in sorted(unread))
        raise ValueError(f"--data={given} is read by none of the tables {', '.join(FLAGS.tables or ['synthetic'])}")
    if FLAGS.split and all(table.dataset == "folder" for table in found):
        raise ValueError(f"--split={FLAGS.split} is read by none of the tables {', '.join(FLAGS.tables)}")
    if not found:
        raise ValueError("; ".join(absent.values()))
    for note in absent.values():
        print(f"left out: {note}", file=sys.stderr)
    return found


def data_folders(datasets: set[str]) -> dict[str, str]:
    """--data by dataset, '' for the rendered heads; a folder without a name is of the one dataset of what is wanted."""
    from jfsr.data import pipeline

    out: dict[str, str] = {}
    for entry in FLAGS.data or []:
        dataset, equals, folder = entry.partition("=")
        if entry == "synthetic_heads":
            folder = ""
        elif not equals or "/" in dataset:
            own = sorted(datasets - {"synthetic_heads"})
            if len(own) > 1:
                what = "figures" if FLAGS.figures else "tables"
                raise ValueError(
                    f"--data={entry}: the {what} read {', '.join(own)}; say which: --data={own[0]}={entry}"
                )
            dataset, folder = next(iter(own), "folder"), entry
        if dataset not in pipeline.DATASETS:
            raise ValueError(f"--data={entry}: no data set {dataset!r}{configs.nearest(dataset, pipeline.DATASETS)}")
        out[dataset] = folder
    return out


def the_system(path: pathlib.Path) -> Any:
    """The system to score; ValueError if --config or --scale say something else than its own config."""
    from jfsr import api
    from jfsr.tables import scoring
    from jfsr.training import checkpoint

    if FLAGS.images:
        return scoring.images(FLAGS.images, scale=FLAGS.scale)
    if not (FLAGS.workdir or FLAGS.checkpoint):
        return scoring.baselines(scale=FLAGS.scale)
    restorer = api.load(path, step=int(FLAGS.step) if FLAGS.step.isdigit() else FLAGS.step)
    if FLAGS.scale and FLAGS.scale != restorer.scale:
        raise ValueError(f"--scale={FLAGS.scale}, but this system restores ×{restorer.scale}")
    if FLAGS.config is not None:
        changed = configs.diff(restorer.config, FLAGS.config)
        changed = {k: v for k, v in changed.items() if not {k, k.split(".")[0]} & checkpoint.FREE}
        if changed:
            shown = "\n  ".join(f"{key}: {values}" for key, values in changed.items())
            raise ValueError(f"the run has another config than --config (run -> --config):\n  {shown}")
    return scoring.run(restorer, path.name)


def second_opinions() -> Any:
    """The judges that only a flag brings in."""
    from jfsr.evals import direct, fsanet, gate
    from jfsr.frozen import zoo
    from jfsr.tables import scoring
    from jfsr.training import checkpoint, runs

    judges = scoring.Judges()
    if FLAGS.fsanet:
        judges.fsanet = fsanet.estimator(FLAGS.fsanet)
    if FLAGS.direct:
        judges.direct = direct.estimator(checkpoint.read_config(FLAGS.direct), runs.load_variables(FLAGS.direct)[0])
    if FLAGS.gate:
        config = checkpoint.read_config(FLAGS.gate)
        pose = zoo.load(config.frozen.pose)[1] if config.method == "gate" else {}
        judges.gate = gate.decider(config, runs.load_variables(FLAGS.gate)[0], {"pose": pose})
    return judges


def listing() -> str:
    """Every table and figure and what it needs, and whether that is here."""
    from jfsr.drawing import papers
    from jfsr.frozen import zoo
    from jfsr.tables import protocols, scoring

    lines = []
    for name, table in protocols.TABLES.items():
        lacking = [scoring.lacks(table)]
        lacking += [f"jfsr port {network}" for _, network in table.networks if not zoo.present(network)]
        lacking = [x for x in lacking if x]
        lines.append(f"{name:20}{table.title}" + (f"\n{'':20}  needs {'; '.join(lacking)}" if lacking else ""))
    lines += [f"{name:20}not scored: {why}" for name, why in protocols.UNSCORED.items()]
    lines += papers.listing()
    return "\n".join(lines)


def describe(system: Any, judges: Any) -> dict[str, str]:
    """What made the numbers: config, parameters, networks, code, versions."""
    import jax

    import jfsr
    from jfsr import bundle

    out = {**system.facts, **judges.facts(), "jfsr": f"{jfsr.__version__}, commit {bundle.commit()}"}
    libraries = ("jax", "flax", "numpy", "pillow")
    out["versions"] = ", ".join([f"Python {platform.python_version()}"]
                                + [f"{name} {importlib.metadata.version(name)}" for name in libraries])  # fmt: skip
    out["device"] = jax.devices()[0].device_kind
    return out


def write(folder: pathlib.Path, scored: Any, protocol: Any, provenance: dict[str, str]) -> None:
    """Every file of a table, each whole or not at all."""
    from jfsr import files
    from jfsr.drawing import figures, report
    from jfsr.tables import columns

    result, pictures = scored.result, report.pictures_of(scored)
    scores = {method: {key: i._asdict() for key, i in of.items()} for method, of in result.summary.items()}
    drawn = {heading: f"{heading.lower().replace(' ', '_').replace(chr(39), '')}.png" for heading in pictures}
    if (folder / "summary.json").exists():  # pictures of an earlier result that this one does not have
        earlier = json.loads((folder / "summary.json").read_text()).get("pictures", [])
        for name in set(earlier) - set(drawn.values()):
            (folder / pathlib.Path(name).name).unlink(missing_ok=True)
    summary = {
        "title": result.title,
        "protocol": result.protocol,
        "protocol_id": protocol.digest(),
        "protocol_fields": protocol.fields(),
        **provenance,
        "scores": scores,
        "gap_closed_percent": columns.gap_closed(result.summary),
        "dropped": columns.dropped(scored.rows, scored.unusable),
        "unusable": scored.unusable,
        "facts": result.facts,
        "pictures": sorted(drawn.values()),
    }
    files.write_text(folder / "table.md", result.markdown())
    files.write_text(folder / "summary.json", json.dumps(no_nan(summary), indent=1, ensure_ascii=False) + "\n")
    columns.write_csv(folder / "images.csv", scored.rows)
    for heading, (image, _) in pictures.items():
        file = folder / drawn[heading]
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        draft.write_bytes(figures.png(image))
        draft.replace(file)
    files.write_text(folder / "report.html", report.page(result, pictures, provenance))


def no_nan(value: Any) -> Any:
    """NaN and infinities as null, which JSON has a word for."""
    if isinstance(value, dict):
        return {k: no_nan(v) for k, v in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return None
    return value


if __name__ == "__main__":
    app.run(main, flags_parser=configs.parse_flags)
