"""Photographs on disk: every file that is promised, a bad one that stops nothing, and nothing replaced unasked."""

from __future__ import annotations

import csv
import gc
import re
import urllib.parse

import numpy as np
import pytest
from PIL import Image
from support import browsing, fake_run

from jfsr import __main__ as cli
from jfsr import album, api, photos
from jfsr.data.boxes import Face


@pytest.fixture
def run(tmp_path, monkeypatch):
    fake_run.install(monkeypatch)
    monkeypatch.setattr(api, "read_pose", lambda images: np.tile(np.float32([10, -5, 2]), (len(images), 1)))
    return fake_run.workdir(tmp_path / "run")


@pytest.fixture
def folder(tmp_path):
    """Photographs: two with faces, one without, one that is none, a hidden one."""
    root = tmp_path / "in"
    (root / "trip").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for name, size in {
        "a.png": (60, 40),
        "trip/b.jpg": (90, 70),
        "trip/none.png": (20, 20),
        ".hidden/c.png": (9, 9),
    }.items():
        pixels = np.random.default_rng(len(name)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
    (root / "bad.png").write_text("no picture")
    return root


@pytest.fixture
def boxes(tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text(
        "file,x0,y0,x1,y1\na.png,10,10,26,26\ntrip/b.jpg,5,5,20,22\nb.jpg,1,1,2,2\ntrip/b.jpg,30,10,88,68\nnone.png,,,,\nbad.png,,,,\n"
    )
    return file


def call(*words):
    return cli.main([str(word) for word in words])


def table(file):
    with open(file, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_restore_writes_photographs_overlays_faces_a_table_and_a_page(run, folder, boxes, tmp_path, capsys):
    out = tmp_path / "out"
    assert call("restore", folder, "--checkpoint", run, "--boxes", boxes, "-o", out, "--report") == 1
    said = capsys.readouterr()
    assert said.out == f"{out}: 3 photographs, 3 faces (1 left alone, 2 run)\n"
    assert "no face found: trip/none (a cropped face? --cropped takes it whole)\n" in said.err
    assert f"not read: {folder / 'bad.png'}: not an image\n" in said.err
    assert "1 hidden or system folders are not looked into" in said.err
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    names = {"a.png", "trip/b.png", "trip/none.png"}
    faces = {"faces/a_1.png", "faces/trip/b_1.png", "faces/trip/b_2.png"}
    assert files == {f"{kind}/{n}" for kind in ("photos", "overlay") for n in names} | faces | {
        "faces.csv",
        "report.html",
    }
    rows = table(out / "faces.csv")
    assert tuple(rows[0]) == album.COLUMNS
    assert [(r["file"], r["face"], r["model"]) for r in rows] == [
        (str(folder / "a.png"), "1", "run"),
        (str(folder / "trip/b.jpg"), "1", "run"),
        (str(folder / "trip/b.jpg"), "2", ""),
    ]
    assert rows[2]["left_alone"] == "large enough: 59 px, and the networks take 16"
    assert (rows[0]["yaw_deg"], rows[0]["change_deg"], rows[0]["score"]) == ("10.0", "0.0", "")
    enlarged = np.asarray(Image.open(out / "photos/a.png"))
    assert enlarged.shape == (8 * 40, 8 * 60, 3)
    assert np.any(np.asarray(Image.open(out / "overlay/a.png")) != enlarged)
    page = (out / "report.html").read_text()
    assert all(
        name in page for name in ("overlay/trip/b.png", "faces/trip/b_2.png", "+10° / -5° / +2°", "not an image")
    )

    before = (out / "faces.csv").read_bytes()
    again = ("restore", folder, "--checkpoint", run, "--boxes", boxes, "-o", out)
    assert call(*again) == 2
    assert f"{out / 'photos'} exists; give another folder with -o, or --overwrite" in capsys.readouterr().err
    assert call(*again, "--overwrite", "--enlarge", "1", "--no-pose") == 1
    assert np.asarray(Image.open(out / "photos/a.png")).shape == (40, 60, 3)
    assert table(out / "faces.csv")[0]["yaw_deg"] == ""
    assert (out / "faces.csv").read_bytes() != before


def test_an_input_is_never_replaced_and_links_of_the_page_lead_to_its_files(run, tmp_path, capsys):
    for folder in ("photos", "mine"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (30, 30)).save(tmp_path / folder / "a #1.png")
    before = (tmp_path / "photos/a #1.png").read_bytes()
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x0,y0,x1,y1\na #1.png,4,4,20,20\n")
    words = ("restore", "--checkpoint", run, "--boxes", boxes, "--overwrite", "-o")
    assert call(*words, tmp_path, tmp_path / "photos") == 2
    assert "is an input where results go" in capsys.readouterr().err
    assert (tmp_path / "photos/a #1.png").read_bytes() == before
    assert call(*words, tmp_path / "out", tmp_path / "mine", "--report") == 0
    page = (tmp_path / "out/report.html").read_text()
    links = {urllib.parse.unquote(link) for link in re.findall(r'(?:src|href)="([^"]+)"', page)}
    assert links == {
        f"{kind}/{name}.png" for kind, name in (("photos", "a #1"), ("overlay", "a #1"), ("faces", "a #1_1"))
    }
    assert "#" not in "".join(re.findall(r'src="([^"]+)"', page))
    assert all((tmp_path / "out" / link).is_file() for link in links)


def test_a_box_outside_its_photograph_is_left_out_and_said(run, folder, tmp_path, capsys):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x0,y0,x1,y1\na.png,500,500,520,520\na.png,10,10,26,26\n")
    assert call("restore", folder / "a.png", "--checkpoint", run, "--boxes", boxes, "-o", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert re.search(r"box left out: a: its square of \d+ px at \(\d+, \d+\) is outside the picture\n", said.err)
    assert "1 photograph, 1 face" in said.out
    assert [row["face"] for row in table(tmp_path / "out/faces.csv")] == ["1"]


def test_the_page_of_photographs_in_a_browser(browser, run, folder, boxes, tmp_path, capsys):
    call("restore", folder, "--checkpoint", run, "--boxes", boxes, "-o", tmp_path / "out", "--report")
    browser.set_window_size(400, 900)
    browser.get((tmp_path / "out/report.html").as_uri())
    browser.execute_script("for (const image of document.images) image.loading = 'eager'")
    images = browser.find_elements("css selector", "img")
    assert len(images) == 6  # three photographs, three faces
    browsing.until(lambda: all(int(image.get_property("naturalWidth")) for image in images))
    assert all(image.size["width"] == 96 for image in images if "faces/" in image.get_attribute("src"))
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_faces_are_found_where_no_boxes_are_given_and_poses_are_printed(run, folder, tmp_path, capsys, monkeypatch):
    asked = []

    def detector(**options):
        asked.append(options)
        return lambda photo: [Face(np.array([4.0, 4, 18, 18]), np.full((5, 2), np.nan), 0.97)]

    monkeypatch.setattr(photos, "detector", detector)
    assert call("pose", folder / "a.png", "--checkpoint", run, "--smallest", "14") == 0
    assert asked == [{"smallest_px": 14.0}]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{folder / 'a.png'}  face 1  14 px  run  yaw  +10.0°  pitch   -5.0°  roll   +2.0°",
        "1 photograph, 1 face (1 run)",
    ]
    out = tmp_path / "deep" / "poses.csv"
    assert call("pose", folder, "--checkpoint", run, "-o", out) == 1
    assert [row["score"] for row in table(out)] == ["0.97"] * 3
    assert call("pose", folder, "--checkpoint", run, "-o", out) == 2
    assert "poses.csv exists" in capsys.readouterr().err
    # From Python, the same.
    (face,) = api.load(run).photo(folder / "a.png")
    assert face.score == 0.97
    assert face.model == "run"
    assert api.load(run).photo(np.zeros((30, 30, 3), np.uint8), faces=[]) == []


def test_what_was_done_before_an_interruption_is_whole_and_in_the_table(run, folder, tmp_path):
    pictures = {name: folder / name for name in ("a.png", "trip/b.jpg", "trip/none.png")}

    def find(photo):
        if photo.shape[0] == 20:
            raise KeyboardInterrupt
        return [Face(np.array([4.0, 4, 18, 18]), np.full((5, 2), np.nan), 0.97)]

    by = photos.BySize([api.load(run)], pose=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(photos, "PENDING", 1)
        with pytest.raises(KeyboardInterrupt):
            album.restore(pictures, tmp_path / "out", by=by, find=find)
    assert len(table(tmp_path / "out/faces.csv")) == 2
    for file in (tmp_path / "out").rglob("*.png"):
        Image.open(file).load()
    assert len(list((tmp_path / "out/photos").rglob("*.png"))) == 2


def test_names_keep_their_folders_and_suffixes_where_two_would_be_one(tmp_path):
    for name in ("x/a.png", "x/a.jpg", "y/a.png", "y/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    x, y = tmp_path / "x", tmp_path / "y"
    assert album.collect([x])[0] == {"a.jpg": x / "a.jpg", "a.png": x / "a.png"}
    assert album.collect([y])[0] == {"a": y / "a.png", "b": y / "b.png"}
    assert album.collect([y, y / "b.png"])[0] == {"a": y / "a.png", "b.png": y / "b.png"}  # once
    with pytest.raises(ValueError, match=r"would both be 'a\.png'"):
        album.collect([x, y])
    with pytest.raises(ValueError, match="no such file or folder"):
        album.collect([tmp_path / "z"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the package leaves its pipes open
def test_poses_of_a_videos_frames_have_their_times(run, folder, tmp_path, capsys, monkeypatch):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    film = tmp_path / "film.mp4"
    writer = ffmpeg.write_frames(str(film), (64, 48), fps=10, codec="mpeg4")
    writer.send(None)
    for i in range(30):  # three seconds that grow brighter
        writer.send(np.full((48, 64, 3), 8 * i, np.uint8).tobytes())
    writer.close()
    seen = []

    def find(photo):
        seen.append(photo)
        return [Face(np.array([4.0, 4, 18, 18]), np.full((5, 2), np.nan), 0.97)]

    monkeypatch.setattr(photos, "detector", lambda **options: find)
    out = tmp_path / "poses.csv"
    assert call("pose", film, "--every", "0.5", "--checkpoint", run, "-o", out) == 0
    assert [float(row["time_s"]) for row in table(out)] == [0, 0.5, 1, 1.5, 2, 2.5]
    grey = [int(frame.mean()) for frame in seen]
    assert all(frame.shape == (48, 64, 3) for frame in seen)
    assert np.all(np.diff(grey) > 20), grey
    for words, said in {
        ("restore", film, "-o", tmp_path / "x"): "is a video, which is not restored",
        ("pose", film, "--boxes", out): "--boxes are of pictures",
        ("pose", film, "--every", "0"): "is no time",
    }.items():
        try:
            code = call(*words, "--checkpoint", run)
        except SystemExit as end:  # argparse
            code = end.code
        assert code == 2
        assert said in capsys.readouterr().err
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 100)
    assert call("pose", bad, "--checkpoint", run) == 1
    assert f"not read: {bad}: no video that ffmpeg reads" in capsys.readouterr().err
    gc.collect()  # here, where that is allowed
