"""MTCNN's boxes: the file, how it is made, and the crops that read nothing else."""

from __future__ import annotations

import types

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from jfsr import __main__ as cli
from jfsr.data import boxes, crops, detection, pipeline, records
from jfsr.data.boxes import Face
from jfsr.data.datasets import specs
from jfsr.data.records import BadRecord
from jfsr.drawing import papers
from jfsr.tables import protocols, scoring

FIVE = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])  # in a box


def found(x0, y0, x1, y1, score=0.9):
    """A face with its points in their usual places."""
    box = np.array([x0, y0, x1, y1], np.float64)
    return Face(box, box[:2] + FIVE * (box[2:] - box[:2]), score)


def by_colour(image):
    """A detector that finds each red square, in any size of the picture; blue ones it does not see."""
    red = (image[..., 0] > 180) & (image[..., 1] < 80) & (image[..., 2] < 80)
    columns = np.flatnonzero(red.any(0))
    faces = []
    for run in np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else []:
        rows = np.flatnonzero(red[:, run].any(1))
        if len(run) > 3:
            faces.append(found(run[0], rows[0], run[-1] + 1, rows[-1] + 1))
    return faces


def painted(path, *squares, size=(90, 60)):
    image = np.full((size[1], size[0], 3), 120, np.uint8)
    for colour, x0, y0, side in squares:
        image[y0 : y0 + side, x0 : x0 + side] = {"red": (230, 10, 10), "blue": (10, 10, 230)}[colour]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def aflw2000(tmp_path):
    """Three faces in AFLW2000's layout: one among two, one that is not found, one alone."""
    root = tmp_path / "AFLW2000"
    for number, squares, x in (
        (2, (("red", 10, 20, 16), ("red", 60, 22, 20)), 60),
        (3, (("blue", 10, 10, 20),), 10),
        (4, (("red", 30, 30, 18),), 30),
    ):
        file = root / f"image{number:05}.png"
        painted(file, *squares)
        file.rename(file.with_suffix(".jpg"))  # lossless, under the name that the set has
        corners = np.array([[x, x + 18], [24, 46]]) + 1.0
        points = np.tile(corners, 34)
        labels = {"Pose_Para": np.zeros((1, 7), np.float32), "pt3d_68": np.concatenate([points, np.zeros((1, 68))])}
        savemat(file.with_suffix(".mat"), labels)
    return root


def source(root, crop, dataset="aflw2000", split="", margin=1.0):
    return types.SimpleNamespace(dataset=dataset, dir=str(root), split=split, crop=crop, margin=margin)


@pytest.fixture
def painter(monkeypatch):
    monkeypatch.setattr(detection, "load_mtcnn", lambda: by_colour)


def call(*words):
    return cli.main(["data", "boxes", *map(str, words)])


# ---- Made by the command, read by the crop


def test_the_crop_reads_the_file_that_the_command_makes(aflw2000, painter, capsys):
    assert call("aflw2000", "--from", aflw2000) == 0
    out, err = capsys.readouterr()
    file = aflw2000 / "mtcnn_test.csv"
    assert out == f"{file}: aflw2000 test, 2 faces found, 1 not found\n"
    assert err == "not found: image00003.jpg\n"

    lines = boxes.read_boxes(file)
    assert list(lines) == ["image00002.jpg", "image00003.jpg", "image00004.jpg"]
    assert lines["image00003.jpg"] == (90, 60, None)
    np.testing.assert_allclose(lines["image00002.jpg"].face.box_px, [60, 22, 80, 42], atol=0.8)  # the labelled of two
    np.testing.assert_allclose(lines["image00004.jpg"].face.box_px, [30, 30, 48, 48], atol=0.8)

    faces = pipeline.open_source(source(aflw2000, "mtcnn"))
    assert faces[0]["image"].shape == (128, 128, 3)
    assert np.median(faces[0]["image"][8:-8, 8:-8, 0]) == 230  # the square fills the crop
    raw = faces.source[0]
    assert raw["detector"] == "mtcnn"
    np.testing.assert_array_equal(raw["landmarks_px"][0], [60, 24])  # labels stay what they are
    np.testing.assert_array_equal(raw["landmarks5_px"], records.five_points(raw["landmarks_px"]))
    with pytest.raises(BadRecord, match=r"image00003\.jpg: MTCNN found no face in it \(mtcnn_test\.csv\)"):
        faces[1]
    assert "1 of 3 faces not found" in faces.source.report()
    box = crops.square(crops.RULES["hopenet_mtcnn"](raw, 0.0))
    assert box == crops.square(crops.RULES["hopenet_biwi"](raw, 0.0))


def test_without_the_file_the_crop_refuses_and_names_the_command(aflw2000, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for rule in boxes.BY_BOX:
        with pytest.raises(ValueError, match=rf"crop '{rule}' reads MTCNN's boxes.*jfsr data boxes aflw2000 --from"):
            pipeline.open_source(source(aflw2000, rule))
    assert len(pipeline.open_source(source(aflw2000, "lightcnn"))) == 3  # its labels have points
    table = protocols.choose("msgan/t1-mtcnn", {"dir": str(aflw2000)})
    assert "jfsr data boxes aflw2000" in scoring.lacks(table)
    assert scoring.lacks(protocols.choose("msgan/t1", {"dir": str(aflw2000)})) == ""


def test_the_file_may_lie_in_the_data_folder(aflw2000, tmp_path, monkeypatch, painter, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    file = tmp_path / "tfds/jfsr_boxes/aflw2000_test.csv"
    assert call("aflw2000", "--from", aflw2000, "-o", file) == 0
    assert capsys.readouterr().err == "not found: image00003.jpg\n"
    assert pipeline.open_source(source(aflw2000, "mtcnn")).source.file == file
    assert boxes.place("aflw2000", "", "test") == [file]
    assert scoring.lacks(protocols.choose("msgan/t1-mtcnn", {"dir": str(aflw2000)})) == ""
    assert call("aflw2000", "--from", aflw2000, "-o", tmp_path / "mine.csv") == 0
    assert f"note: crops look for it at {aflw2000 / 'mtcnn_test.csv'} or {file}" in capsys.readouterr().err


def test_what_the_command_refuses(aflw2000, tmp_path, painter, capsys):
    assert call("aflw2000", "--from", aflw2000, "-o", tmp_path / "x.txt") == 2
    assert "it takes the name of a CSV" in capsys.readouterr().err
    (tmp_path / "x.csv").write_text("mine")
    assert call("aflw2000", "--from", aflw2000, "-o", tmp_path / "x.csv") == 2
    assert "x.csv exists; give another file with -o, or --overwrite" in capsys.readouterr().err
    assert (tmp_path / "x.csv").read_text() == "mine"
    assert call("nowhere") == 2
    assert "neither a folder nor a data set" in capsys.readouterr().err
    painted(tmp_path / "blue/a.png", ("blue", 10, 10, 20))
    assert call(tmp_path / "blue") == 2
    assert "no face was found in the 1 pictures of blue" in capsys.readouterr().err
    assert not (tmp_path / "blue/mtcnn.csv").exists()


def test_an_interrupted_call_goes_on_where_it_stopped(aflw2000):
    pictures, file = pipeline.open_pictures("aflw2000", str(aflw2000)), aflw2000 / "mtcnn_test.csv"
    calls = []

    def breaks(image):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return by_colour(image)

    with pytest.raises(KeyboardInterrupt):
        detection.make(pictures, file, detect=breaks)
    assert not file.exists()
    journal = aflw2000 / ".mtcnn_test.csv.journal"
    journal.write_text(journal.read_text() + '["image00003.jpg", 90, 6')  # the last line was cut off
    seen = []
    made = detection.make(pictures, file, detect=lambda image: (seen.append(image.shape), by_colour(image))[1])
    assert (made.found, made.absent, made.unreadable) == (2, ["image00003.jpg"], [])
    assert len(seen) == 4 + 1  # four tries for the second face, one for the third; none for the first
    assert not journal.exists()
    whole = file.read_text()
    detection.make(pictures, file, detect=by_colour, overwrite=True)
    assert file.read_text() == whole


# ---- Which face


def record(*, size=(90, 60), **labels):
    return records.new_record(np.zeros((size[1], size[0], 3), np.uint8), "one.png") | labels


def test_the_nearest_face_is_taken_and_never_a_neighbour():
    left, right = found(10, 10, 30, 30), found(60, 10, 80, 30)
    assert detection.nearest([left, right], np.array([58.0, 8, 84, 34]), (90, 60)) is right
    assert detection.nearest([left, right], np.array([12.0, 8, 34, 34]), (90, 60)) is left
    assert detection.nearest([left], np.array([58.0, 8, 84, 34]), (90, 60)) is None
    assert detection.nearest([left, right], None, (90, 60)) is left  # nearest to the picture's centre: 20, not 70
    assert detection.nearest([], None, (90, 60)) is None


def test_pictures_are_brought_to_a_size_and_faces_come_back_to_their_pixels():
    box = np.array([13, 10, 77, 50], np.float32)
    sizes = []

    def detect(image):
        sizes.append(image.shape)
        height, width = image.shape[:2]
        return [found(0.5 * width, 0.4 * height, 0.6 * width, 0.5 * height)] if len(sizes) == wanted else []

    for wanted in (1, 2, 3, 4):
        sizes.clear()
        face = detection.search(record(box_px=box), detect)
        scale = detection.FACE_PX / 64
        assert sizes[0] == (60 * scale, 90 * scale, 3)  # 64 px of a face become FACE_PX
        # In the framed pictures, fractions are of the frame too.
        frame = 0 if wanted == 1 else detection.PAD * 90
        low, high = (0.5, 0.6) if wanted != 3 else (0.4, 0.5)  # the third is mirrored
        x = np.array([low, high]) * (90 + 2 * frame) - frame
        y = np.array([0.4, 0.5]) * (60 + 2 * frame) - frame
        np.testing.assert_allclose(face.box_px, [x[0], y[0], x[1], y[1]], atol=0.2)
        assert face.points_px[0, 0] < face.points_px[1, 0]
        middle = (face.points_px[0] + face.points_px[1]) / 2 + 0.5
        np.testing.assert_allclose(middle[0], x.mean(), atol=0.6)
    sizes.clear()
    detection.search(record(size=(3000, 2000), box_px=box), lambda image: sizes.append(image.shape) or [])
    assert max(sizes[0]) == detection.MAX_SIDE_PX


# ---- Sets without points


def test_lfws_points_come_from_the_file_and_align_it_as_lightcnn(tmp_path, painter, capsys):
    root = tmp_path / "lfw"
    for person, x in (("Ada_One", 90), ("Bob_Two", 110)):
        painted(root / f"{person}/{person}_0001.png", ("red", x, 80, 60), size=(250, 250))
        (root / f"{person}/{person}_0001.png").rename(root / f"{person}/{person}_0001.jpg")
    where = source(root, "lightcnn", "lfw", "full")
    with pytest.raises(ValueError, match=r"crop 'lightcnn' reads MTCNN's boxes.*jfsr data boxes lfw --from"):
        pipeline.open_source(where)
    assert call("lfw", "--from", root) == 0
    faces = pipeline.open_source(where)
    for i in range(2):
        five = faces[i]["landmarks5_px"]
        np.testing.assert_allclose(five[:2].mean(0), [63.5, 40], atol=0.01)
        np.testing.assert_allclose(five[3:].mean(0)[1], 88, atol=0.01)
    assert faces.source.root == root
    assert {name for name, spec in specs().items() if not spec.points} == {
        "biwi",
        "cfp",
        "lfw",
        "pointing04",
        "wider_face",
    }


def test_iafsr_trains_and_is_scored_by_one_alignment(load_config):
    config = load_config("iafsr")
    figures = [papers.FIGURES[name].protocol.crop for name in ("iafsr/f2", "iafsr/f4", "iafsr/f5")]
    assert {config.data.sources.faces.crop, config.val.source.crop, *figures} == {"lightcnn"}
    assert all(protocols.TABLES[name].crop == "lightcnn" for name in protocols.TABLES if name.startswith("iafsr/"))


def test_a_folder_of_faces_may_have_the_file_too(tmp_path, painter):
    painted(tmp_path / "faces/a.png", ("red", 30, 20, 20))
    assert call(tmp_path / "faces") == 0
    for rule in ("mtcnn", "lightcnn"):
        face = pipeline.open_source(source(tmp_path / "faces", rule, "folder"))[0]
        assert np.isfinite(face["landmarks5_px"]).all()


# ---- Faults


def test_another_copy_or_an_incomplete_file_is_an_error(aflw2000, painter, capsys):
    call("aflw2000", "--from", aflw2000)
    file = aflw2000 / "mtcnn_test.csv"
    text = file.read_text()
    file.write_text(text.replace("image00004.jpg,90,60", "image00004.jpg,450,450"))
    with pytest.raises(ValueError, match=r"image00004\.jpg was 450×450 and is 90×60 here; the file is of another copy"):
        pipeline.open_source(source(aflw2000, "mtcnn"))[2]
    file.write_text("\n".join(text.splitlines()[:2]) + "\n")
    with pytest.raises(ValueError, match=r"has no line for image00004\.jpg; make it again"):
        pipeline.open_source(source(aflw2000, "mtcnn"))[2]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a.png", 9, 9, 0.5, 5, 1, 5, 4, *range(10)], "line 2: the box .* has no width or height"),
        (["a.png", 9, 9, "x", 1, 1, 5, 4, *range(10)], "line 2: .*cells hold numbers"),
        (["a.png", 9, 9, "", 1, 1, 5, 4, *range(10)], "line 2: .*cells hold numbers"),
        (["a.png", "", 9, 0.5, 1, 1, 5, 4, *range(10)], "line 2: .*cells hold numbers"),
        (["a.png", 9, 9], "line 2: fewer cells"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, cells, message):
    file = tmp_path / "mtcnn.csv"
    file.write_text(",".join(boxes.COLUMNS) + "\n" + ",".join(map(str, cells)) + "\n")
    with pytest.raises(ValueError, match=message):
        boxes.read_boxes(file)
    good = ",".join(map(str, ["a.png", 9, 9, 0.5, 1, 1, 5, 4, *range(10)]))
    file.write_text(",".join(boxes.COLUMNS) + f"\n{good}\n{good}\n")
    with pytest.raises(ValueError, match=r"line 3: a second line for 'a\.png'; keep one"):
        boxes.read_boxes(file)
    file.write_text("file,x0\na.png,1\n")
    with pytest.raises(ValueError, match="line 1: its columns are file, x0; they must be file, width"):
        boxes.read_boxes(file)


# ---- The tables


def test_msgans_tables_are_there_in_both_crops():
    for plain, boxed in protocols.BOXED.items():
        a, b = protocols.TABLES[plain], protocols.TABLES[boxed]
        assert protocols.different(a.fields(), b.fields()).keys() == {"crop"}
        assert b.crop == "hopenet_mtcnn"
        assert a.crop in ("hopenet_aflw2000", "hopenet_biwi")
        assert (a.paper, a.networks) == (b.paper, b.networks)
        assert "MTCNN" in b.title
        assert "Hopenet" in a.title
    assert protocols.named("msgan/t2-mtcnn") == ["msgan/t2-mtcnn-aflw2000", "msgan/t2-mtcnn-biwi"]
    assert protocols.named("msgan/t2") == ["msgan/t2-aflw2000", "msgan/t2-biwi"]


def test_a_crop_that_changed_has_another_id_than_the_results_of_earlier_versions():
    fields = protocols.TABLES["aflw2000"].fields()
    assert fields["crop"] == "hopenet_aflw2000, revision 1"
    assert protocols.TABLES["msgan/t2-biwi"].fields()["crop"] == "hopenet_biwi"


# ---- MTCNN itself


@pytest.mark.filterwarnings("ignore")  # the package's, and Keras's
def test_mtcnn_finds_real_faces_where_their_landmarks_are(shared):
    pytest.importorskip("mtcnn")
    pictures = pipeline.open_pictures("aflw2000", str(shared / "faces/val/aflw2000"))
    detect = detection.load_mtcnn()
    assert detect(np.zeros((40, 40, 3), np.uint8)) == []
    for index in (0, 7, 20):
        face = pictures[index]
        got = detection.search(face, detect)
        size = np.ptp(face["landmarks_px"], axis=0).max()
        off = np.linalg.norm(got.points_px - face["landmarks5_px"], axis=-1) / size
        assert off.mean() < 0.06
        middle = (face["landmarks_px"].max(0) + face["landmarks_px"].min(0)) / 2
        assert np.abs((got.box_px[:2] + got.box_px[2:]) / 2 - middle).max() < 0.3 * size  # it has the forehead
        assert 0.6 < got.score <= 1
