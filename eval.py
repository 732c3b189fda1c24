"""Scores a system: python eval.py --checkpoint=runs/quick --tables=synthetic.

Writes table.md, summary.json, images.csv (every face, pair or probe), report.html and its pictures. The system is a
workdir of train.py, a bundle of 'jfsr export', or a folder of another method's images (--images). --list names the
tables and figures and what each still needs here. Without a system, --scale and --out score the baselines alone.

--write-faces=DIR writes the faces of the tables instead, DIR/lr and DIR/hr, for another method to restore; its results
are then scored by --images.

--figures=msgan/f9,mtun/f3 draws the papers' figures instead: figure.png, figure.csv (the numbers behind it) and
summary.json, each figure in its folder of eval/figures.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import sys
from typing import TYPE_CHECKING, Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from jfsr import config as configs
from jfsr import console, files
from jfsr.training import launch

if TYPE_CHECKING:
    from jfsr.tables.scoring import Networks, System

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "Optional: an error unless the run was made with it.", lock_config=True)
flags.DEFINE_string(
    "checkpoint",
    None,
    "The run to score: a workdir of train.py, a bundle of 'jfsr export', or a name of 'jfsr models'.",
)
flags.DEFINE_string("workdir", None, "Old name of --checkpoint.")
flags.DEFINE_string("images", None, "Folder of another method's 128×128 results, named after the faces; with --scale.")
flags.DEFINE_string("step", "best", "Which checkpoint of a workdir: best, last or a number.")
flags.DEFINE_list("tables", [], "Tables to make, joined by commas; see --list. 'synthetic' if nothing is named.")
flags.DEFINE_string("write-faces", None, "Writes the tables' faces, lr/ and hr/ by name, into this folder; then ends.")
flags.DEFINE_list("figures", [], "Figures of the papers to draw, joined by commas, instead of tables; see --list.")
flags.DEFINE_list("beside", [], "More systems in a figure: LABEL=RUN, or LABEL=FOLDER of another method's images, …")
flags.DEFINE_bool("list", False, "Names the tables and figures and what they need, and ends.")
flags.DEFINE_list("compare", [], "Two result folders (or summary.json), joined by a comma, side by side; then ends.")
flags.DEFINE_list(
    "data",
    [],
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
flags.DEFINE_string("out", None, "Folder for the results; by default eval/TABLE in the run's folder.")
flags.DEFINE_integer("limit", 0, "Only the first so many faces, or pairs; 0 = all.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The command line, read once; the names are the flags'.

    Attributes:
      networks: --pose, --identity, --perceptual by kind; None where the user says nothing.
      fields: --split, --crop, --margin.
    """

    config: ConfigDict | None
    checkpoint: pathlib.Path | None
    images: str | None
    step: int | str
    scale: int | None
    tables: list[str]
    figures: list[str]
    beside: list[str]
    data: list[str]
    fields: dict[str, Any]
    networks: dict[str, str | None]
    fsanet: str | None
    direct: str | None
    gate: str | None
    min_images: int
    out: pathlib.Path | None
    limit: int

    @property
    def alone(self) -> bool:
        """Whether the baselines stand alone, without a system."""
        return not (self.checkpoint or self.images)

    def check_system(self) -> None:
        """ValueError unless one system is named, with what it needs, and a place for its results."""
        if (self.checkpoint and self.images) or not (self.checkpoint or self.images or self.scale or self.figures):
            raise ValueError(
                "give the system to score: --checkpoint=DIR or --images=DIR (or --scale and --out alone, for the "
                "baselines)"
            )
        if self.images and not self.scale:
            raise ValueError(
                "--images needs --scale, HR over LR size: bicubic, beside it, starts from that low resolution"
            )
        if self.results is None:
            raise ValueError(
                "--images, the baselines alone and a model that ships with jfsr need --out, a folder for the results"
            )

    @property
    def results(self) -> pathlib.Path | None:
        """Where the results go: a folder for each table or figure inside, unless --out names it for one table."""
        if self.out or not self.checkpoint:
            return self.out
        from jfsr.training import runs

        return self.checkpoint / "eval" if runs.locate(self.checkpoint) == self.checkpoint else None


def main(argv: list[str]) -> None:
    """List, compare, draw or score; what is wrong with the input is one line."""
    # Orbax and TFDS say a lot at INFO and WARNING; --verbosity=0 shows it. What matters here is printed.
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)
    try:
        if len(argv) > 1:
            raise ValueError(f"unexpected argument {argv[1]!r}; see --help")
        check_alone()
        if FLAGS.list:
            list_everything()
        elif FLAGS["write-faces"].value:
            write_faces(files.path(FLAGS["write-faces"].value))
        elif FLAGS.compare:
            compare(FLAGS.compare)
        else:
            options = read_options()
            (draw if options.figures else score)(options)
    except (ValueError, OSError) as error:
        print(f"eval.py: {error}", file=sys.stderr)
        sys.exit(2)


def check_alone() -> None:
    """ValueError if the environment says that this is one of several processes."""
    try:
        how = launch.find(os.environ)
    except ValueError as error:
        variables = ", ".join(v for names in launch.BY_HAND.values() for v in names if os.environ.get(v))
        raise ValueError(f"an evaluation is one process; remove {variables or 'them'} ({error})") from error
    if how.processes > 1:
        raise ValueError(f"started {how.how} as {how.processes} processes, and an evaluation is one: start it once")


def read_options() -> Options:
    """The flags as Options; everything that is wrong with them by themselves is said here.

    Raises:
      ValueError: options that exclude each other.
    """
    checkpoint = FLAGS.checkpoint or FLAGS.workdir
    if FLAGS.workdir:
        print("note: --workdir is now --checkpoint; the old name works in this version", file=sys.stderr)
    if FLAGS.workdir and FLAGS.checkpoint:
        raise ValueError("--workdir is the old name of --checkpoint; give one of them")
    if FLAGS.tables and FLAGS.figures:
        raise ValueError("--tables and --figures are two commands; give one of them")
    if FLAGS.beside and not FLAGS.figures:
        raise ValueError("--beside is read by --figures alone; --compare puts the scores of two systems side by side")
    return Options(
        config=FLAGS.config,
        checkpoint=files.path(checkpoint) if checkpoint else None,
        images=FLAGS.images,
        step=int(FLAGS.step) if FLAGS.step.isdigit() else FLAGS.step,
        scale=FLAGS.scale,
        tables=FLAGS.tables,
        figures=[name.strip() for name in FLAGS.figures],
        beside=FLAGS.beside,
        data=FLAGS.data,
        fields={"split": FLAGS.split, "crop": FLAGS.crop, "margin": FLAGS.margin},
        networks={kind: FLAGS[kind].value for kind in ("pose", "identity", "perceptual")},
        fsanet=FLAGS.fsanet,
        direct=FLAGS.direct,
        gate=FLAGS.gate,
        min_images=FLAGS.min_images,
        out=files.path(FLAGS.out) if FLAGS.out else None,
        limit=FLAGS.limit,
    )


# ---- List, compare


def list_everything() -> None:
    """Every table and figure and what it needs, and whether that is here."""
    from jfsr.drawing import papers
    from jfsr.tables import selection

    print("\n".join([*selection.listing(), *papers.listing()]))


def compare(paths: list[str]) -> None:
    """Two results side by side."""
    from jfsr.tables import results

    print(results.compare_files(paths).markdown())


# ---- Faces for another method


def write_faces(folder: pathlib.Path) -> None:
    """The faces of the tables, as a system gets them and as they were; of several tables, a folder for each."""
    from jfsr.tables import scoring, selection

    for name in ("checkpoint", "workdir", "images", "figures", "beside", "out"):
        if FLAGS[name].value:
            raise ValueError(f"--write-faces writes the faces of tables, and --{name} has no part in that")
    fields = {"split": FLAGS.split, "crop": FLAGS.crop, "margin": FLAGS.margin}
    tables, absent = selection.tables(FLAGS.tables, FLAGS.data, **fields)
    for note in absent.values():
        print(f"left out: {note}", file=sys.stderr)
    for table in tables:
        target = folder / table.name.replace("/", "_") if len(tables) > 1 else folder
        table, unusable = scoring.write_faces(table, target, scale=FLAGS.scale or 8, limit=FLAGS.limit)
        print("\n".join([f"{target}: lr/, hr/", table.text(), *(f"left out: {reason}" for reason in unusable)]))


# ---- Score


def score(options: Options) -> None:
    """One table after the other; tables whose faces are not here are left out and named."""
    from jfsr.drawing import report
    from jfsr.tables import scoring, selection

    tables, absent = selection.tables(options.tables, options.data, **options.fields)
    for note in absent.values():
        print(f"left out: {note}", file=sys.stderr)
    options.check_system()
    results = options.results or pathlib.Path()
    system = open_system(options)
    opinions = scoring.opinions(fsanet=options.fsanet, direct=options.direct, gate=options.gate)

    for table in tables:
        networks = scoring.networks(options.networks, system, table, opinions=opinions)
        scored = scoring.score(system, networks, table, limit=options.limit, min_images=options.min_images)
        folder = results
        if not options.out or len(tables) > 1:
            folder /= table.name.replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        made_by = provenance(system, networks)
        pictures = report.write(folder, scored.result, report.pictures(scored), made_by)
        scoring.write(folder, scored, {**made_by, "pictures": pictures})
        print(scored.result.markdown())
        print(f"{folder}: table.md, summary.json, images.csv, report.html")


# ---- Draw


def draw(options: Options) -> None:
    """One figure after the other; those whose faces or network are not here are left out and named."""
    from jfsr.drawing import papers
    from jfsr.tables import scoring, selection

    names = options.figures
    wanted = {papers.figure(name).protocol.dataset for name in names}
    protocols, absent = papers.choose(names, selection.folders(options.data, wanted, what="figures"), options.fields)
    if options.beside and not any(papers.figure(name).beside for name in names):
        raise ValueError(f"--beside={','.join(options.beside)} is read by none of the figures {', '.join(names)}")
    if options.alone and any(papers.figure(name).system for name in names):
        raise ValueError("the figures show a system: give --checkpoint=DIR or --images=DIR")
    options.check_system()
    results = options.results or pathlib.Path()
    system = open_system(options)
    systems = {papers.OURS: system, **systems_beside(options, system.scale)}

    for name, protocol in protocols.items():
        kind = papers.figure(name).network
        try:
            network = papers.network(name, options.networks.get(kind), system, protocol)
        except ValueError as error:
            absent[name] = str(error)
            continue
        drawing, protocol = papers.draw(name, protocol, systems, network, limit=options.limit)
        folder = results / "figures" / name.replace("/", "_")
        made_by = provenance(system, scoring.Networks({kind: network} if network else {}))
        beside = {label: other.facts for label, other in systems.items() if other is not system}
        papers.write(folder, drawing, protocol, {**made_by, "beside": beside})
        print("\n- ".join([protocol.title, *drawing.notes]))
        print(f"{folder}: figure.png, figure.csv, summary.json")
    if len(absent) == len(names):
        raise ValueError("; ".join(absent.values()))
    for note in absent.values():
        print(f"left out: {note}", file=sys.stderr)


# ---- Systems


def open_system(options: Options) -> System:
    """The system to score; ValueError if --config or --scale say something else than its own config."""
    from jfsr import api
    from jfsr.tables import scoring
    from jfsr.training import checkpoint, parallel

    if unkept := parallel.keep_programs():
        print(unkept, file=sys.stderr)
    if options.images and options.scale:
        return scoring.images(options.images, scale=options.scale)
    if not options.checkpoint:
        return scoring.baselines(scale=options.scale or 8)
    restorer = api.load(options.checkpoint, step=options.step)
    if options.scale and options.scale != restorer.scale:
        raise ValueError(f"--scale={options.scale}, but this system restores ×{restorer.scale}")
    if options.config is not None:
        changed = checkpoint.changes(restorer.config, options.config)
        if changed:
            shown = "\n  ".join(f"{key}: {values}" for key, values in changed.items())
            raise ValueError(f"the run has another config than --config (run -> --config):\n  {shown}")
    return scoring.run(restorer, options.checkpoint.name)


def systems_beside(options: Options, scale: int) -> dict[str, System]:
    """The systems of --beside by label: runs and bundles, and folders of images at the given scale."""
    from jfsr import api
    from jfsr.drawing import papers
    from jfsr.tables import scoring

    entries = [entry.partition("=") for entry in options.beside]
    for label, equals, folder in entries:
        if not equals or not folder:
            raise ValueError(f"--beside={label}: it takes LABEL=RUN or LABEL=FOLDER")
    papers.check_labels([label for label, _, _ in entries])
    systems = {}
    for label, _, folder in entries:
        if (pathlib.Path(folder) / "config.json").exists():
            systems[label] = scoring.run(api.load(folder, step=options.step), label)
        else:
            systems[label] = scoring.images(folder, scale=scale)
    return systems


def provenance(system: System, networks: Networks) -> dict[str, str]:
    """What made the numbers: config, parameters, networks, code, versions."""
    import jax

    import jfsr
    from jfsr import bundle

    libraries = ("jax", "flax", "numpy", "pillow")
    versions = [f"Python {platform.python_version()}", *(f"{x} {importlib.metadata.version(x)}" for x in libraries)]
    return {
        **system.facts,
        **networks.facts(),
        "jfsr": f"{jfsr.__version__}, commit {bundle.commit()}",
        "versions": ", ".join(versions),
        "device": jax.devices()[0].device_kind,
    }


if __name__ == "__main__":
    console.prepare()
    app.run(main, flags_parser=configs.flags_parser(FLAGS))
