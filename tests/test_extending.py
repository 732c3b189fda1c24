"""docs/extending.md is true: its code for a data set and for a metric column is run, with nothing else changed."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image
from support import ROOT
from support.heads import nearest
from support.official_layouts import roundtrip, rules, write_image

import jfsr.evals
from jfsr.__main__ import main
from jfsr.data import datasets, pipeline
from jfsr.tables import columns, protocols, results, scoring

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def code(first_line):
    """The code block of the page that starts with ``# first_line``, without that line."""
    blocks = [textwrap.dedent(block) for block in re.findall(r"^ *```python\n(.*?)^ *```$", PAGE, re.DOTALL | re.M)]
    (block,) = (block for block in blocks if block.startswith(f"# {first_line}\n"))
    return block.split("\n", 1)[1]


# ---- A data set


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The package with the new file and the new line, and a folder in that layout: three faces and a missing one."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "toy.py").write_text(code("jfsr/data/datasets/toy.py"), encoding="utf-8")
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "package")])
    entry = code("jfsr/data/datasets/__init__.py")
    assert entry.strip() == '"toy": "toy",'
    monkeypatch.setitem(datasets.MODULES, "toy", "toy")
    # What follows from MODULES when the package is imported.
    monkeypatch.setattr(datasets, "NAMES", tuple(datasets.MODULES))
    monkeypatch.setattr(pipeline, "DATASETS", ("folder", "synthetic_heads", *datasets.NAMES))
    datasets.specs.cache_clear()

    root = tmp_path / "TOY"
    for i in range(3):
        write_image(root / "faces" / f"{i}.png", (40, 40), seed=i)
    (root / "angles.csv").write_text("0,10,0,0\n1,-20,5,1\n2,120,0,0\n3,0,0,0\n", encoding="utf-8")
    yield root
    datasets.specs.cache_clear()
    sys.modules.pop("jfsr.data.datasets.toy", None)


def test_the_data_set_of_the_page_is_read_checked_and_built(toy, tmp_path, capsys):
    account = roundtrip(datasets.specs()["toy"], toy, tmp_path)["test"]
    assert (account.found, account.kept, rules(account)) == (4, 3, {"3": "no picture"})

    assert main(["data", "check", "toy", "--from", str(toy)]) == 2  # a face is missing
    assert "test: found 4, kept 3, dropped 1; the complete set has 3: NOT matched" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert "Toy Faces (Author et al., 2026)" in capsys.readouterr().out
    assert main(["data", "build", "toy", "--from", str(toy), "--dir", str(tmp_path / "built"), "--workers", "1"]) == 0
    assert list((tmp_path / "built").rglob("report.json"))
    assert main(["data", "show", "toy", "--from", str(toy), "-o", str(tmp_path / "sheet.png")]) == 0

    config = protocols.Protocol("toy", "Toy", "toy", dir=str(toy), crop="center", margin=1.0)
    faces = pipeline.open_source(config)
    assert [face["image"].shape for face in faces] == [(128, 128, 3)] * 3
    np.testing.assert_array_equal(faces[1]["pose_deg"], [-20, 5, 1])


def test_a_folder_that_is_not_the_new_set_is_refused_with_its_layout(toy, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"(?s)toy, split 'test': .*angles.csv.*faces/0001.png"):
        pipeline.open_pictures("toy", str(tmp_path / "empty"))


# ---- A metric column


@pytest.fixture
def evaluator(monkeypatch):
    """The package with the page's two lines in jfsr/evals/restoration.py."""
    source = (ROOT / "jfsr" / "evals" / "restoration.py").read_text(encoding="utf-8")
    last_column = '    "lpips": Column(title="LPIPS", digits=3),\n'
    last_score = '                "ssim_y": metrics.ssim(image, hr, colour="y", **where),\n'
    for before, where, indent in ((last_column, "COLUMNS", 4), (last_score, "run", 16)):
        assert source.count(before) == 1
        line = textwrap.indent(code(f"jfsr/evals/restoration.py: {where}"), " " * indent)
        source = source.replace(before, before + line)
    name = "jfsr.evals.restoration"
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader=None))
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(jfsr.evals, "restoration", module, raising=False)
    exec(compile(source, f"{name}, extended", "exec"), vars(module))
    columns.every_column.cache_clear()
    yield module
    columns.every_column.cache_clear()


def test_the_column_of_the_page_is_scored_shown_written_and_compared(evaluator, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    for i in range(3):
        image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        image.resize((128, 128), Image.Resampling.BICUBIC).save(tmp_path / "faces" / f"{i}.png")
    protocol = protocols.choose("folder", {"dir": str(tmp_path / "faces"), "crop": "center", "margin": 1.0})
    systems = {"squares": lambda batch: nearest(batch["lr"]), "original": lambda batch: batch["hr"]}
    for name, predict in systems.items():
        scored = scoring.score(scoring.System(name, predict, 8), scoring.Networks(), protocol)
        (tmp_path / name).mkdir()
        scoring.write(tmp_path / name, scored, {})

    table = (tmp_path / "squares" / "table.md").read_text(encoding="utf-8")
    head, _, *rows = (line for line in table.splitlines() if line.startswith("|"))
    cells = {row.split("|")[1].strip(): row.split("|") for row in rows}
    place = [cell.strip() for cell in head.split("|")].index("L1")
    assert "L1: mean absolute error in 8-bit levels." in table

    lines = list(csv.DictReader((tmp_path / "squares" / "images.csv").read_text(encoding="utf-8").splitlines()))
    with Image.open(tmp_path / "faces" / "0.png") as face:
        squares = face.resize((16, 16), Image.Resampling.BICUBIC).resize((128, 128), Image.Resampling.NEAREST)
        by_hand = np.abs(np.asarray(face, float) - np.asarray(squares, float)).mean()
    assert float(next(x["l1"] for x in lines if x["row"] == "nearest")) == pytest.approx(by_hand, rel=1e-4)
    means = {row: np.mean([float(x["l1"]) for x in lines if x["row"] == row]) for row in ("bicubic", "nearest", "ours")}
    assert means["ours"] == pytest.approx(means["nearest"], abs=0.5)  # both repeat each pixel of the low resolution
    assert means["bicubic"] < means["nearest"]
    assert cells["Ours"][place].strip().startswith(f"{means['ours']:.2f} [")
    summary = json.loads((tmp_path / "original" / "summary.json").read_text(encoding="utf-8"))
    assert summary["scores"]["ours"]["l1"]["mean"] == 0.0

    compared = results.compare_files([str(tmp_path / "squares"), str(tmp_path / "original")])
    place = compared.head.index("L1")
    first = next(i for i, row in enumerate(compared.body) if row[0] == "Ours")
    shown = [row[place] for row in compared.body[first : first + 3]]  # squares, original, Δ
    assert shown == [f"{means['ours']:.2f}", "0.00", f"{-means['ours']:+.2f}"]


# ---- The files that the page names


def test_the_page_names_files_that_exist():
    named = set(re.findall(r"`((?:jfsr|configs|tests)/[\w/]+\.py)`", PAGE))
    assert len(named) > 20
    missing = {name for name in named if "toy" not in name and not (ROOT / name).is_file()}
    assert not missing
    assert not {name for name in named if "toy" in name and (ROOT / name).exists()}


def test_the_page_has_every_kind_of_change_in_its_table():
    table = re.search(r"\n\n(\| change .*?)\n\n", PAGE, re.DOTALL)[1]
    headings = [heading.lower() for heading in re.findall(r"^## (.*)$", PAGE, re.M)]
    assert re.findall(r"^\| \[(.*?)\]", table, re.M) == headings
