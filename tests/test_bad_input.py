"""Any input that is wrong ends in one line on stderr and exit code 2: each case is a command as a user gives it."""

from __future__ import annotations

import functools
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from support import load_config
from support.commands import EvalCommand
from support.warm import WarmPython

from jfsr import __main__ as cli
from jfsr import config as configs
from jfsr.frozen import trees
from jfsr.methods import iafsr
from jfsr.training import runs


def picture(side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def table(*lines):
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with one good picture of each kind, and a good bundle."""
    root = tmp_path_factory.mktemp("place")
    Image.fromarray(picture()).save(root / "face.png")
    (root / "faces").mkdir()
    for name in "ab":
        Image.fromarray(picture(seed=ord(name))).save(root / "faces" / f"{name}.png")
    config = load_config("iafsr", "debug,sr_net,frozen.identity=''")
    batch = {"hr": np.zeros((1, 128, 128, 3), np.float32)}
    shapes = jax.eval_shape(functools.partial(iafsr.init, config), jax.random.key(0), batch).nets["g"]
    draw = lambda tree: jax.tree.map(lambda x: 0.01 * np.ones(x.shape, np.float32), tree)
    variables = {"params": draw(shapes.params), **({"batch_stats": draw(shapes.stats)} if shapes.stats else {})}
    (root / "bundle").mkdir()
    write_bundle(root / "bundle", variables)
    (root / "bundle" / "config.json").write_text(configs.to_json(config))
    return root


def write_bundle(folder, variables):
    trees.save_tree(folder / runs.PARAMS, variables, metadata={"sha256": runs.digest(variables)})


@pytest.fixture
def here(place, tmp_path):
    """A copy of the place, to be damaged."""
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refused(capsys, *words):
    """What a command of ``jfsr`` prints when it refuses its input."""
    try:
        code = cli.main([str(word) for word in words])
    except SystemExit as end:  # argparse
        code = end.code
    err = capsys.readouterr().err
    assert code == 2, err
    assert "Traceback" not in err
    return err


# ---- Bundles


def of_config(**changes):
    def damage(bundle):
        config = json.loads((bundle / "config.json").read_text())
        for key, value in changes.items():
            *path, last = key.split("__")
            node = config
            for name in path:
                node = node[name]
            if value is KeyError:
                del node[last]
            else:
                node[last] = value
        (bundle / "config.json").write_text(json.dumps(config))

    return damage


def of_file(name, data):
    return lambda bundle: (bundle / name).write_bytes(data)


def of_arrays(change):
    """Other arrays under a right digest."""

    def damage(bundle):
        variables, _ = trees.load_tree(bundle / runs.PARAMS)
        leaves = trees.flatten(variables)
        change(leaves)
        write_bundle(bundle, trees.unflatten(leaves))

    return damage


def drop_one(leaves):
    del leaves[min(name for name in leaves if name.startswith("params/"))]


def grow_one(leaves):
    name = min(name for name in leaves if name.startswith("params/"))
    leaves[name] = np.zeros((7, *leaves[name].shape), np.float32)


def leaf_and_branch(bundle):
    arrays = load_file(bundle / runs.PARAMS)
    save_file({**arrays, "params": np.zeros(1, np.float32)}, bundle / runs.PARAMS)


def other_digest(bundle):
    variables, _ = trees.load_tree(bundle / runs.PARAMS)
    trees.save_tree(bundle / runs.PARAMS, variables, metadata={"sha256": "0" * 64})


BUNDLES = {
    "an array is gone": (of_arrays(drop_one), "do not fit their config"),
    "an array of another shape": (of_arrays(grow_one), "do not fit their config"),
    "a leaf and a branch": (leaf_and_branch, "damaged"),
    "no parameters": (lambda b: write_bundle(b, {"other": {"a": np.zeros(1, np.float32)}}), "holds no parameters"),
    "another digest": (other_digest, "does not hold the parameters that were exported"),
    "parameters cut off": (lambda b: (b / runs.PARAMS).write_bytes((b / runs.PARAMS).read_bytes()[:-9]), "damaged"),
    "parameters empty": (of_file(runs.PARAMS, b""), "damaged"),
    "parameters are text": (of_file(runs.PARAMS, b"hello, this is no safetensors file"), "damaged"),
    "config of another paper": (of_config(method="mtun"), "cannot be run"),
    "no scale": (of_config(scale=KeyError), "'scale' is missing"),
    "scale 0": (of_config(scale=0), "int from 1 to 64, got 0"),
    "scale negative": (of_config(scale=-4), "int from 1 to 64, got -4"),
    "scale a string": (of_config(scale="eight"), "int from 1 to 64, got 'eight'"),
    "scale null": (of_config(scale=None), "got None"),
    "another scale": (of_config(scale=3), "scale must be a power of two"),
    "no model": (of_config(model=KeyError), "'model' is missing"),
    "model a list": (of_config(model=[1, 2]), "'model' is a section"),
    "features a string": (of_config(model__features="many"), "got 'many'"),
    "features of a billion": (of_config(model__features=10**9), "from 1 to 4,096"),
    "features 0": (of_config(model__features=0), "got 0"),
    "twice the features": (of_config(model__features=16), "do not fit their config"),
    "frozen network a number": (of_config(frozen__identity=7), "takes str, got 7"),
    "frozen null": (of_config(frozen=None), "'frozen' is a section"),
    "an unknown key": (of_config(colour="red"), "unknown config key 'colour'"),
    "no method": (of_config(method=KeyError), "names no method"),
    "method a number": (of_config(method=5), "names no method"),
    "method unknown": (of_config(method="nothing"), "no method 'nothing'"),
    "method dotted": (of_config(method="os.path"), "no method 'os.path'"),
    "method elsewhere": (of_config(method="../x"), "no method '../x'"),
    "config empty": (of_file("config.json", b""), "no config of jfsr"),
    "config no JSON": (of_file("config.json", b"{'scale': 8}"), "no config of jfsr"),
    "config a list": (of_file("config.json", b"[1, 2]"), "no config of jfsr"),
    "config a number": (of_file("config.json", b"8"), "no config of jfsr"),
    "config null": (of_file("config.json", b"null"), "no config of jfsr"),
    "config nested 500 deep": (of_file("config.json", b'{"a":' * 500 + b"1" + b"}" * 500), "no config of jfsr"),
    "config nested 100,000 deep": (of_file("config.json", b"[" * 100_000), "no config of jfsr"),
    "config binary": (of_file("config.json", bytes(range(256))), "no config of jfsr"),
    "no config": (lambda b: (b / "config.json").unlink(), "has no config.json"),
    "config a folder": (lambda b: ((b / "config.json").unlink(), (b / "config.json").mkdir()), "config.json"),
}


@pytest.mark.parametrize("case", BUNDLES)
def test_a_bundle_that_is_wrong(case, here, capsys):
    damage, said = BUNDLES[case]
    damage(here / "bundle")
    err = refused(
        capsys, "restore", "--cropped", here / "face.png", "--checkpoint", here / "bundle", "-o", here / "out"
    )
    assert said in err
    assert "bundle" in err
    assert not (here / "out").exists()


def test_a_good_bundle_restores(here, capsys):
    words = [
        "restore",
        "--cropped",
        str(here / "face.png"),
        "--checkpoint",
        str(here / "bundle"),
        "-o",
        str(here / "out"),
    ]
    assert cli.main([*words, "--no-pose"]) == 0
    assert (here / "out" / "face.png").exists()


# ---- Pictures


def save(name, image):
    return lambda root: Image.fromarray(image).save(root / name)


PICTURES = {
    "empty": (lambda r: (r / "x.png").write_bytes(b""), "x.png", "empty file"),
    "text": (lambda r: (r / "x.png").write_text("hello"), "x.png", "not an image"),
    "cut off": (lambda r: (r / "x.png").write_bytes((r / "face.png").read_bytes()[:300]), "x.png", "cannot be decoded"),
    "4 pixels wide": (save("x.png", picture(4)), "x.png", "too small"),
    "floats": (save("x.tif", picture()[..., 0].astype(np.float32)), "x.tif", "floating-point pixels"),
    "12 bits": (save("x.png", picture()[..., 0].astype(np.uint16) * 16), "x.png", "convert it to 8 bits"),
    "32 bits": (save("x.tif", picture()[..., 0].astype(np.int32) * 2**20), "x.tif", "convert it to 8 bits"),
    "a folder": (lambda r: (r / "x.png").mkdir(), "x.png", "no such image"),
    "absent": (lambda r: None, "x.png", "no such image"),
}


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_that_is_wrong(case, here, capsys):
    make, name, said = PICTURES[case]
    make(here)
    err = refused(capsys, "restore", "--cropped", here / name, "--checkpoint", here / "bundle", "-o", here / "out")
    assert said in err
    assert name in err


# ---- Commands

BOXED = ["restore", "face.png", "--checkpoint", "bundle", "--no-pose", "-o", "out", "--boxes"]
COMMANDS = {
    "restore without a face": (["restore", "--checkpoint", "bundle", "-o", "out"], "PATH"),
    "restore by nothing": (["restore", "face.png", "--checkpoint", "absent", "-o", "out"], "no folder"),
    "restore by a picture": (["restore", "face.png", "--checkpoint", "face.png", "-o", "out"], "no folder"),
    "restore onto a file": (["restore", "face.png", "--checkpoint", "bundle", "-o", "face.png"], "is a file"),
    "restore onto itself": (["restore", "--cropped", "face.png", "--checkpoint", "bundle", "-o", "."], "is an input"),
    "restore nothing": (["restore", "absent.png", "--checkpoint", "bundle", "-o", "out"], "no such file or folder"),
    "restore an empty folder": (["restore", "bundle", "--checkpoint", "bundle", "-o", "out"], "no picture in bundle"),
    "restore onto results": (["restore", "face.png", "--checkpoint", "bundle", "-o", "."], "faces exists"),
    "restore with a box too few": ([*BOXED, "few.csv"], "few.csv, line 2: fewer cells"),
    "restore with a hole in a box": ([*BOXED, "hole.csv"], "hole.csv, line 2: a cell is no number"),
    "restore with an empty box": ([*BOXED, "flat.csv"], "flat.csv, line 2: the box 1, 1, 1, 5 is none"),
    "restore with boxes of others": ([*BOXED, "other.csv"], "other.csv has no line for face.png"),
    "restore with no boxes": ([*BOXED, "face.png"], "face.png, line 1: "),
    "restore cropped, with boxes": ([*BOXED, "few.csv", "--cropped"], "takes no --boxes"),
    "restore by a factor of nothing": ([*BOXED, "few.csv", "--enlarge", "0"], "is no count"),
    "pose onto a picture": (["pose", "face.png", "--checkpoint", "bundle", "-o", "x.png"], "takes the name of a CSV"),
    "export of a bundle's step": (["export", "bundle", "-o", "out", "--step", "3"], "is a bundle, of one step"),
    "export of a bundle without card": (
        ["export", "bundle", "-o", "out"],
        "README.md is missing; copy the bundle again",
    ),
    "check of what is no bundle": (["export", "--check", "faces"], "no config.json"),
    "check of a bundle without a vector": (["export", "--check", "bundle"], "holds no test vector"),
    "demo on no port": (["demo", "--port", "80"], "is no port"),
    "export of no run": (["export", "faces", "-o", "out"], "no config.json"),
    "export onto something": (["export", "bundle", "-o", "faces"], "exists"),
    "rewind of a bundle": (["rewind", "bundle", "--step", "1"], "is a bundle, which has no checkpoints"),
    "rewind to no number": (["rewind", "bundle", "--step", "one"], "invalid int value"),
    "port of an unknown network": (["port", "hopnet", "face.png"], "did you mean 'hopenet'"),
    "port of no file": (["port", "hopenet", "absent.pkl"], "absent.pkl"),
    "port without a file": (["port", "hopenet"], "published file"),
    "port of one file of two": (["port", "lpips_alex", "face.png"], "2 files, got 1"),
    "degrade of a small face": (["degrade", "face.png", "-o", "x.png"], "starts from 128×128"),
    "degrade onto no PNG": (["degrade", "face.png", "-o", "x.jpg"], "takes the name of a PNG"),
    "degrade without copies": (["degrade", "face.png", "-o", "x.png", "--samples", "0"], "at least 1"),
    "degrade, seed too large": (["degrade", "face.png", "-o", "x.png", "--seed", str(2**70)], "is no seed"),
    "degrade, seed negative": (["degrade", "face.png", "-o", "x.png", "--seed", "-1"], "is no seed"),
    "show no faces": (["data", "show", "faces", "-o", "x.png", "--count", "0"], "is no count"),
    "show a googol of faces": (["data", "show", "faces", "-o", "x.png", "--count", "1" + "0" * 100], "is no count"),
    "show an unknown set": (["data", "show", "aflw2001", "-o", "x.png"], "neither a folder nor a data set"),
    "show by an unknown crop": (["data", "show", "faces", "-o", "x.png", "--crop", "centre"], "did you mean 'center'"),
    "check an unknown set": (["data", "check", "aflw2001"], "did you mean 'aflw2000'"),
    "check a set of nowhere": (["data", "check", "aflw2000"], "--from FOLDER"),
    "check an absent folder": (["data", "check", "aflw2000", "--from", "absent"], "is no folder"),
    "build from other files": (["data", "build", "lfw", "--from", "faces", "--dir", "tfds"], "expected to hold"),
    "build an unknown split": (["data", "build", "lfw", "--from", "faces", "--splits", "x"], "has no split 'x'"),
    "boxes of rendered heads": (["data", "boxes", "synthetic_heads"], "made for photographs"),
    "an unknown command": (["restor", "face.png"], "invalid choice"),
    "an unknown option": (["restore", "face.png", "--chekpoint", "x"], "required"),
    "nothing": ([], "required"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_that_is_wrong(case, here, monkeypatch, capsys):
    words, said = COMMANDS[case]
    monkeypatch.chdir(here)
    for name, line in {"few": "face.png,1,2", "hole": "face.png,1,2,,5", "flat": "face.png,1,1,1,5"}.items():
        (here / f"{name}.csv").write_text(f"file,x0,y0,x1,y1\n{line}\n")
    (here / "other.csv").write_text("file,x0,y0,x1,y1\nmine.png,1,1,5,5\n")
    before = sorted(p.relative_to(here) for p in here.rglob("*"))
    assert said in refused(capsys, *words)
    assert sorted(p.relative_to(here) for p in here.rglob("*")) == before


# ---- Labels and pairs

POINTS = ",".join(f"x{i},y{i}" for i in range(5))
LABELS = {
    "an unknown column": (table("file,age", "a.png,3"), "unknown column 'age'"),
    "no column of files": (table("name,yaw_deg", "a.png,3"), "unknown column 'name'"),
    "a column twice": (table("file,yaw_deg,yaw_deg", "a.png,3,3"), "appears twice"),
    "seven landmarks": (table("file," + ",".join(f"x{i},y{i}" for i in range(7)), "a.png" + ",1" * 14), "14 landmark"),
    "no number": (table("file,yaw_deg", "a.png,left"), "not a number"),
    "nan": (table("file,yaw_deg", "a.png,nan"), "not a number"),
    "inf": (table("file,yaw_deg", "a.png,inf"), "not a number"),
    "a decimal comma": (table("file,yaw_deg", "a.png,3,5"), "more cells than the header"),
    "too few cells": (table("file,yaw_deg,pitch_deg", "a.png,3"), "fewer cells than the header"),
    "radians of another turn": (table("file,yaw_deg", "a.png,400"), "beyond ±180°"),
    "half a point": (table(f"file,{POINTS}", "a.png,1" + "," * 9), "only one of x0 and y0"),
    "all −1": (table(f"file,{POINTS}", "a.png" + ",-1" * 10), "every landmark is -1"),
    "fractions": (table(f"file,{POINTS}", "a.png" + ",.3,.4" * 5), "landmarks are fractions"),
    "outside": (table(f"file,{POINTS}", "a.png" + ",500,900" * 5), "every landmark lies outside"),
    "partly outside": (table(f"file,{POINTS}", "a.png,70,9,30,9,20,20,9,40,30,40"), "1 of 5 landmarks lie outside"),
    "an absent picture": (table("file,yaw_deg", "c.png,3"), "no image 'c.png'"),
    "a picture twice": (table("file,yaw_deg", "a.png,3", "a.png,4"), "a second line for 'a.png'"),
    "Latin-1": ("file,identity\nJürgen.png,Jürgen\n".encode("latin-1"), "is not UTF-8"),
    "UTF-16": ("file,identity\na.png,A\n".encode("utf-16"), "line 1"),
    "a cell of a million letters": (table("file,identity", "a.png," + "x" * 10**6), "no line of a table"),
    "semicolons": (table("file;yaw_deg", "a.png;3"), "unknown column"),
    "empty": ("", "no column 'file'"),
    "binary": (bytes(range(256)) * 8, "labels.csv, line"),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_are_wrong(case, here, capsys):
    content, said = LABELS[case]
    (here / "faces" / "labels.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert cli.main(["data", "check", str(here / "faces")]) == 2
    out, err = capsys.readouterr()
    assert said in out + err
    assert "Traceback" not in err


def test_labels_twice(here, capsys):
    for name in ("labels.csv", "Labels.CSV"):
        (here / "faces" / name).write_text("file\na.png\n")
    assert "keep one of them, as labels.csv" in refused(capsys, "data", "check", here / "faces")


def test_a_folder_without_pictures(here, capsys):
    (here / "none").mkdir()
    assert "holds no image" in refused(capsys, "data", "check", here / "none")


# ---- eval.py


@pytest.fixture(scope="module")
def evaluate():
    command = EvalCommand()
    yield command
    command.close()


PAIRS = {
    "no column same": (table("file_a,file_b", "a.png,b.png"), "no column 'same'"),
    "an unknown column": (table("file_a,file_b,same,x", "a.png,b.png,1,2"), "column 'x' is unknown"),
    "itself": (table("file_a,file_b,same", "a.png,a.png,1"), "is paired with itself"),
    "twice": (table("file_a,file_b,same", "a.png,b.png,1", "b.png,a.png,1"), "is on line 2 already"),
    "perhaps": (table("file_a,file_b,same", "a.png,b.png,2"), "same is '2'"),
    "an absent picture": (table("file_a,file_b,same", "a.png,c.png,1"), "no image 'c.png'"),
    "a fold by name": (table("file_a,file_b,same,fold", "a.png,b.png,1,one"), "fold is 'one'"),
    "one pair": (table("file_a,file_b,same", "a.png,b.png,1"), "1 pairs"),
    "none": (None, "it lists the pairs"),
}


@pytest.mark.parametrize("case", PAIRS)
def test_pairs_that_are_wrong(case, here, evaluate):
    content, said = PAIRS[case]
    if content is not None:
        (here / "faces" / "pairs.csv").write_text(content)
    options = ["--tables=folder-verification", f"--data={here / 'faces'}", "--crop=center", "--identity=small_identity"]
    done = evaluate(*options, "--scale=8", f"--out={here / 'out'}")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert not (here / "out").exists()


EVALS = {
    "an unknown flag": (["--chekpoint=x"], "Unknown command line flag 'chekpoint'"),
    "a stray word": (["faces"], "unexpected argument 'faces'"),
    "no system": ([], "give the system to score"),
    "two systems": (["--checkpoint=bundle", "--images=faces", "--scale=8"], "give the system to score"),
    "images without a scale": (["--images=faces", "--out=out"], "--images needs --scale"),
    "no folder of images": (["--images=absent", "--scale=8", "--out=out"], "is no folder"),
    "no place": (["--scale=8"], "need --out"),
    "an unknown table": (["--checkpoint=bundle", "--tables=msgan/t9"], "did you mean"),
    "an unknown figure": (["--checkpoint=bundle", "--figures=msgan/f99"], "did you mean"),
    "tables and figures": (["--checkpoint=bundle", "--tables=folder", "--figures=msgan/f9"], "give one of them"),
    "beside without figures": (["--checkpoint=bundle", "--beside=A=faces"], "read by --figures alone"),
    "a model that ships, and no place": (["--checkpoint=msgan-x8", "--tables=folder", "--data=faces"], "need --out"),
    "an absent run": (["--checkpoint=absent", "--tables=folder", "--data=faces"], "no folder"),
    "another scale": (["--checkpoint=bundle", "--scale=16", "--tables=folder", "--data=faces"], "restores ×"),
    "a scale of words": (["--checkpoint=bundle", "--scale=eight"], "invalid literal"),
    "a crop of ours": (["--checkpoint=bundle", "--tables=folder", "--data=faces", "--crop=centre"], "'center'"),
    "an unknown pose network": (
        ["--checkpoint=bundle", "--tables=folder", "--data=faces", "--crop=center", "--pose=hopnet"], "hopnet"
    ),
    "comparing one": (["--compare=faces"], "takes two results"),
    "comparing what is none": (["--compare=faces,bundle"], "not a summary.json"),
    "a JSON as config": (["--config=bundle/config.json", "--checkpoint=bundle"], "--config"),
    "an absent config": (["--config=absent.py", "--checkpoint=bundle"], "config"),
    "the old and the new name": (["--workdir=bundle", "--checkpoint=bundle"], "give one of them"),
}  # fmt: skip


@pytest.mark.parametrize("case", EVALS)
def test_an_evaluation_that_is_wrong(case, here, evaluate):
    words, said = EVALS[case]
    place = lambda word: word if "=" not in word else "=".join(
        [word.split("=", 1)[0], ",".join(
            str(here / x) if x.split("/")[0] in ("faces", "bundle", "out", "absent", "absent.py") else x
            for x in word.split("=", 1)[1].split(",")
        )]
    )  # fmt: skip
    done = evaluate(*map(place, words))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (here / "out").exists()


# ---- train.py


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    # Nothing here may come so far that heads are rendered, which takes minutes: there is no such folder.
    warm = WarmPython(TFDS_DATA_DIR="/proc/no-folder")
    yield warm
    warm.close()


TRAININGS = {
    "method=nothing": "no method 'nothing'",
    "method=../x": "no method '../x'",
    "method=os": "no method 'os'",
    "train.batch=0": "from 1 to 65,536, got 0",
    "train.batch=1000000000000": "from 1 to 65,536",
    "train.batch=-4": "got -4",
    "train.batch=four": "got 'four'",
    "train.pixel_steps=-1": "got -1",
    "scale=0": "from 1 to 64, got 0",
    "seed=2**70": "got '2**70'",
    "seed=1180591620717411303424": "from 0 to 2,147,483,647",
    "seed=-1": "got -1",
    "model.features=0": "from 1 to 4,096, got 0",
    "model.features=-8": "got -8",
    "model.features=eight": "got 'eight'",
    "model.blocks=1": "takes tuple",
    "val.batch=0": "got 0",
    "val.limit=-1": "got -1",
    "loss.perceptual_stages=(48,)": "48",
    "optim.lr_joint=nan": "takes float",
    "optim.lr_joint=fast": "takes float, got 'fast'",
    "optim=fast": "is a section",
    "optim.lr": "unknown variant 'optim.lr'",
    "optim.lr_jiont=0.1": "did you mean 'optim.lr_joint'",
    "debgu": "did you mean 'debug'",
    "parallel=threads": "pmap or shard_map",
    "data.sources.heads.dataset=nothing": "unknown data set 'nothing'",
    "data.sources.heads.crop=centre": "did you mean 'center'",
    "data.degradation=blur": "data.degradation is 'blur'",
    "data.hr_size=100": "takes a multiple of the scale 8",
    "data.sources.heads.dataset=folder": "has no folder",
    "((((": "unknown variant",
}


def refused_training(python, *words):
    """What ``train.py`` prints when it refuses its input."""
    process = python.start("train.py", *words)
    said = process.finish(120)
    assert process.returncode == 2, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("override", TRAININGS)
def test_a_config_that_is_wrong(override, python, tmp_path):
    config = f"--config=configs/msgan.py:debug,{override}"
    assert TRAININGS[override] in refused_training(python, config, f"--workdir={tmp_path / 'run'}", "--devices=1")


OPTIONS = {
    "--devices=-1": "non-negative integer",
    "--devices=two": "two",
    "--config=absent.json": "absent.json",
    "--config=train.py": "config",
    "--batch=4": "Unknown command line flag 'batch'",
    "--config.train.batch=four": "batch",
    "--config.train.bacth=4": "bacth",
    "stray": "unexpected argument 'stray'",
    "--processes=2": "process",
    "--local-devices=x": "--local-devices names 'x'",
    "--join-timeout=0": "join-timeout",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_training_that_is_wrong(option, python, tmp_path):
    config = [] if option.startswith("--config=") else ["--config=configs/pose.py:debug"]
    assert OPTIONS[option] in refused_training(python, *config, f"--workdir={tmp_path / 'run'}", option)
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_cannot_be_made(python):
    said = refused_training(python, "--config=configs/pose.py:debug", "--workdir=/proc/run")
    assert "--workdir=/proc/run cannot be written" in said
    assert "give another folder" in said


@pytest.mark.parametrize("missing", ["config", "workdir"])
def test_training_takes_both(missing, python, tmp_path):
    given = {"config": "configs/pose.py:debug", "workdir": str(tmp_path / "run")}
    assert f"--{missing}" in refused_training(python, *(f"--{k}={v}" for k, v in given.items() if k != missing))
