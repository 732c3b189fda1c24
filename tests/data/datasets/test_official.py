"""Published sets in general, on a made-up one: what is counted, resumed and refused, what a region keeps."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from support import official_layouts as layouts

from jfsr import __main__ as cli
from jfsr.data import datasets, pipeline
from jfsr.data.datasets import building, checking, official
from jfsr.data.pairs import Pair
from jfsr.data.records import BadRecord

READS: list[str] = []
FILE = pathlib.Path("x.png")


def scan(root, split):
    lines = (root / f"{split}.txt").read_text().splitlines()
    entries, dropped = [], []
    for line in lines:
        name, person, *numbers = line.split()
        if (root / name).exists():
            entries.append(official.Entry(name, name, person, tuple(map(float, numbers))))
        else:
            dropped.append((name, "no such picture"))
    return official.Split(entries, dropped, ["a copy made up by the tests"])


def read(root, entry):
    READS.append(entry.name)
    x, y, yaw = entry.data
    points = np.full((68, 2), np.nan, np.float32)
    points[:2] = [[x, y], [x + 4, y]]
    if x < -100:
        raise BadRecord(f"{root / entry.name}: x is absurd")
    return {"landmarks_px": points, "pose_deg": np.array([yaw, 0, 0], np.float32)}


def find_pairs(root, split):
    return [Pair("a0.png", "a1.png", True, 0), Pair("a0.png", "a2.png", False, 1)]


SPEC = official.Official(
    name="made_up",
    title="A made-up set",
    home="nobody's home",
    layout="train.txt\na0.png …",
    release="1.0.0",
    counts={"train": 7, "test": 0},
    scan=scan,
    read=read,
    pairs=find_pairs,
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Seven faces listed: one picture absent, one cut short, one absurd, one half outside, one beyond 99°."""
    monkeypatch.setitem(datasets.MODULES, "made_up", "none")
    monkeypatch.setattr(datasets, "specs", lambda: {"made_up": SPEC})
    monkeypatch.setattr(checking, "CHUNK", 2)
    folder = tmp_path / "made_up"
    for i in range(7):
        layouts.write_image(folder / f"a{i}.png", seed=i)
    (folder / "a6.png").unlink()
    layouts.cut_short(folder / "a5.png")
    rows = [
        "a0.png zoe 10 10 5",
        "a1.png amy 20 20 -120",
        "a2.png zoe 45 10 0",
        "a3.png bob -200 0 0",
        "a4.png amy 5 5 1",
    ]
    (folder / "train.txt").write_text("\n".join([*rows, "a5.png amy 5 5 0", "a6.png amy 5 5 0"]))
    return folder


def test_the_account_says_found_kept_and_dropped_by_which_rule(root):
    (account,), absent = checking.check(SPEC, root, workers=1)
    assert (account.found, account.kept, account.expected) == (7, 4, 7)
    rules = layouts.rules(account)
    assert rules["a6.png"] == "no such picture"
    assert rules["a3.png"] == "x is absurd"
    assert rules["a5.png"].startswith("cannot be decoded")
    remarks = {rule: [name for name, r in account.remarks if r == rule] for _, rule in account.remarks}
    assert remarks["some landmarks unknown"] == ["a0.png", "a1.png", "a2.png", "a4.png"]
    assert remarks["some landmarks outside the picture"] == ["a2.png"]
    assert remarks["an angle beyond ±99°, which no pose score counts"] == ["a1.png"]
    text = account.text()
    assert "found 7, kept 4, dropped 3; the complete set has 7: NOT matched, 6 are here" in text
    assert "dropped 1 × x is absurd: a3.png" in text
    assert "note: a copy made up by the tests" in text
    assert list(absent) == ["test"]
    assert "test.txt" in absent["test"]


def test_a_picture_is_read_as_it_is_stored_since_its_labels_are(root):
    source = official.OfficialFolder(SPEC, root)
    before = source[0]["image"]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned
    Image.fromarray(before).save(root / "a0.png", exif=exif)
    np.testing.assert_array_equal(official.OfficialFolder(SPEC, root)[0]["image"], before)


def test_threads_change_nothing(root):
    assert checking.check(SPEC, root, workers=3) == checking.check(SPEC, root, workers=1)


def test_an_interrupted_build_goes_on_where_it_stopped(root, tmp_path, monkeypatch):
    real, stop_at = checking._examine, {"left": 2}

    def examine(spec, folder, chunk):
        if not stop_at["left"]:
            raise KeyboardInterrupt
        stop_at["left"] -= 1
        return real(spec, folder, chunk)

    monkeypatch.setattr(checking, "_examine", examine)
    with pytest.raises(KeyboardInterrupt):
        building.build(SPEC, root, dir=str(tmp_path / "tfds"), workers=1)
    assert building.built(SPEC, str(tmp_path / "tfds")) is None
    monkeypatch.setattr(checking, "_examine", real)
    READS.clear()
    builder, (account,) = building.build(SPEC, root, dir=str(tmp_path / "tfds"), workers=1)
    # The first two parts were not examined again: their faces were read once, to be written.
    assert [READS.count(f"a{i}.png") for i in range(5)] == [1, 1, 1, 0, 2]
    assert account.kept == 4
    report = json.loads((builder.data_path / "report.json").read_text())
    assert report["train"]["kept"] == 4
    assert ["a3.png", "x is absurd"] in report["train"]["dropped"]
    assert not list((tmp_path / "tfds").glob(".*journal"))
    with pytest.raises(ValueError, match=r"made_up is built: .*; remove that folder to build it anew"):
        building.build(SPEC, root, dir=str(tmp_path / "tfds"))


def test_a_journal_that_was_cut_short_counts_as_not_done(tmp_path):
    journal = checking.Journal(tmp_path / "j")
    journal.add("one", [("a", "rule", True)])
    journal.add("two", [])
    journal.file.write_text(journal.file.read_text()[:-5])
    assert journal.load() == {"one": [("a", "rule", True)]}


def test_what_was_built_is_what_was_read_people_and_pairs_too(root, tmp_path):
    accounts = layouts.roundtrip(SPEC, root, tmp_path)
    assert accounts["train"].kept == 4
    source = official.OfficialFolder(SPEC, root)
    assert source.people == ["amy", "bob", "zoe"]
    assert [int(source[i]["identity"]) for i in (0, 1, 2)] == [2, 0, 2]
    built = building.Built(SPEC, str(tmp_path / "tfds"))
    assert built.pairs() == source.pairs() == find_pairs(root, "train")
    assert built.name_of(1) == "a1.png"


def test_refusals_name_the_remedy(root, tmp_path):
    with pytest.raises(
        ValueError, match="made_up is not built: get it from nobody's home, then jfsr data build made_up"
    ):
        building.Built(SPEC, str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="no split 'tran'; did you mean 'train'"):
        official.OfficialFolder(SPEC, root, split="tran")
    with pytest.raises(ValueError, match=r"is no folder; give A made-up set in its official layout:\ntrain\.txt"):
        official.OfficialFolder(SPEC, root / "none")
    with pytest.raises(ValueError, match=r"test\.txt"):
        official.OfficialFolder(SPEC, root, split="test")
    (root / "train.txt").write_text("a0.png zoe 1 1 1\na0.png zoe 1 1 1")
    with pytest.raises(ValueError, match=r"'a0\.png' is listed 2 times"):
        official.OfficialFolder(SPEC, root)
    (root / "train.txt").write_text("b0.png zoe 1 1 1")
    with pytest.raises(ValueError, match=r"no face in .*b0\.png: no such picture"):
        checking.check(SPEC, root)


def test_a_region_keeps_whole_pixels_around_the_box_and_moves_the_labels():
    image = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)
    box, points = np.array([20, 10, 30, 18], np.float32), np.full((68, 2), np.nan, np.float32)
    points[0] = [25, 14]
    record = {"image": image, "box_px": box, "landmarks_px": points, "landmarks5_px": points[:5], "name": "x"}
    out = official._region(record, 2.0, FILE)  # a side of 20 around (25, 14): x 15 … 35, y 4 … 24
    np.testing.assert_array_equal(out["image"], image[4:24, 15:35])
    np.testing.assert_array_equal(out["box_px"], [5, 6, 15, 14])
    np.testing.assert_array_equal(out["landmarks_px"][0], [10, 10])
    near = official._region({**record, "box_px": np.array([0, 0, 10, 10], np.float32)}, 3.0, FILE)
    np.testing.assert_array_equal(near["image"], image[:20, :20])  # cut at the picture's edges
    with pytest.raises(BadRecord, match=r"x\.png: box outside the picture"):
        official._region({**record, "box_px": np.array([80, 80, 90, 90], np.float32)}, 1.0, FILE)


def test_the_pipeline_and_the_command_line_read_it(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "DATASETS", (*pipeline.DATASETS, "made_up"))
    assert len(pipeline.open_pictures("made_up", str(root))) == 6
    assert cli.main(["data", "list"]) == 0
    assert "A made-up set" in capsys.readouterr().out
    assert cli.main(["data", "check", "made_up", "--from", str(root)]) == 2
    assert "dropped 1 × no such picture: a6.png" in capsys.readouterr().out
    assert cli.main(["data", "check", "made_op", "--from", str(root)]) == 2
    assert "no data set 'made_op'; did you mean 'made_up'" in capsys.readouterr().err
    assert cli.main(["data", "build", "made_up"]) == 2
    assert "--from FOLDER, which is expected to hold\ntrain.txt" in capsys.readouterr().err
    assert (
        cli.main(["data", "build", "made_up", "--from", str(root), "--dir", str(tmp_path / "t"), "--splits=train"]) == 0
    )
    assert "found 7, kept 4" in capsys.readouterr().out
    sheet = tmp_path / "sheet.png"
    assert cli.main(["data", "show", "made_up", "--from", str(root), "-o", str(sheet), "--count=6"]) == 0
    said = capsys.readouterr()
    assert "made_up train, 6 faces" in said.out
    assert "not shown" in said.err
    with Image.open(sheet) as picture:
        assert picture.width > 1000
    assert cli.main(["data", "show", "made_up", "--from", str(root), "-o", str(sheet)]) == 2
    assert "exists" in capsys.readouterr().err
