"""Folders of images: what is read, what is skipped and why, what in the labels is an error."""

import io
import json
import os
import struct
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from jfsr import files
from jfsr.data import images
from jfsr.data.datasets.folder import Folder
from jfsr.data.images import read_image
from jfsr.data.records import BadRecord, Pictures

RED, GREY, WHITE = (200, 30, 40), (100, 100, 100), (255, 255, 255)


def picture(file, mode="RGB", color=RED, size=(12, 10), **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(file, **options)
    return file


def only(root, **options):
    """The single image of a folder."""
    source = Folder(root, **options)
    assert len(source) == 1, source.report()
    return source[0]["image"]


def labelled(root, text):
    for name in ("a.png", "b.png", "sub/c.png"):
        picture(root / name)
    (root / "labels.csv").write_text(text, encoding="utf-8")
    return Folder(root)


# ---- Images


def test_images_come_sorted_from_the_whole_tree_and_unlabelled_ones_know_nothing(tmp_path):
    for name in ("b/z.png", "a.jpg", "b/a.PNG", "c.webp"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image, and no picture's suffix")
    source = Folder(tmp_path)
    assert isinstance(source, Pictures)
    assert [source[i]["name"] for i in range(len(source))] == ["a.jpg", "b/a.PNG", "b/z.png", "c.webp"]
    record = source[1]
    assert (record["image"].shape, record["image"].dtype, record["identity"]) == ((10, 12, 3), np.uint8, -1)
    for key in ("pose_deg", "landmarks_px", "landmarks5_px", "box_px"):
        assert np.isnan(record[key]).all()
        assert record[key].dtype == np.float32
    assert not record["visible"].any()


@pytest.mark.parametrize(
    ("suffix", "mode", "color", "wanted"),
    [
        ("png", "L", 100, GREY),
        ("png", "1", 1, WHITE),
        ("png", "RGBA", (*RED, 255), RED),
        ("png", "RGBA", (*RED, 0), WHITE),  # alpha lies over white
        ("png", "RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("png", "LA", (100, 255), GREY),
        ("png", "I;16", 100 * 257, GREY),
        ("tif", "I;16", 65535, WHITE),
        ("tif", "CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_every_mode_is_read_as_8_bit_rgb(tmp_path, suffix, mode, color, wanted):
    picture(tmp_path / f"x.{suffix}", mode, color)
    image = only(tmp_path, check="decode")
    assert (image == wanted).all(), image[0, 0]


def test_palettes_are_read_also_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (12, 10), 1)
    image.putpalette([0, 0, 0, *RED])
    image.paste(0, (0, 0, 6, 10))
    image.save(tmp_path / "x.png", transparency=0)
    got = only(tmp_path)
    assert (got[:, :6] == 255).all()
    assert (got[:, 6:] == RED).all()
    image.save(tmp_path / "x.png")
    assert (only(tmp_path)[:, :6] == 0).all()


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (12, 10), "white")
    image.paste("black", (0, 0, 12, 3))  # the top of what the camera stored
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise, so that the stored top is on the right
    image.save(tmp_path / "x.png", exif=exif)
    got = only(tmp_path)
    assert got.shape == (12, 10, 3)
    assert (got[:, 7:] == 0).all()
    assert (got[:, :7] == 255).all()


# A resolution that is text, a number that is one, and a sub-directory at no place: Pillow reads them, and cannot write.
@pytest.mark.parametrize(("tag", "kind"), [(0x011A, 2), (0x0100, 2), (0x8769, 9)])
def test_a_malformed_exif_tag_makes_no_photograph_unreadable(tag, kind, tmp_path):
    Image.new("RGB", (12, 10), RED).save(data := io.BytesIO(), "JPEG")
    tags = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHI4s", tag, kind, 1, b"\xff\xff\xff\xff")
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IH", 8, 2) + tags + b"\0\0\0\0"
    jpeg = data.getvalue()
    (tmp_path / "x.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
    with Image.open(tmp_path / "x.jpg") as stored, pytest.raises((TypeError, ValueError, struct.error)):
        ImageOps.exif_transpose(stored)
    assert only(tmp_path).shape == (12, 10, 3)


@pytest.mark.parametrize("side", range(1, 9))
def test_every_orientation_is_pillows(side, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = side
    image.save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), wanted)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", upright=False), np.asarray(image))


def test_what_is_hidden_or_of_the_system_is_left_out_and_links_are_followed_once(tmp_path):
    root = tmp_path / "faces"
    for name in ("a.png", "sub/b.jfif", ".ipynb_checkpoints/a.png", "@eaDir/a.png", ".Trash-0/c.png", "._a.png"):
        picture(root / name, format="PNG")
    (root / "d.heic").touch()
    picture(tmp_path / "elsewhere/e.png")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "again").symlink_to(root)
    (root / "sub/twice").symlink_to(tmp_path / "elsewhere")
    source = Folder(root)
    assert [source.name_of(i) for i in range(len(source))] == ["a.png", "linked/e.png", "sub/b.jfif"]
    said = source.report()
    assert "3 hidden or system folders are not looked into" in said
    assert "1 folders are links, which were followed" in said
    assert "2 links lead to folders that were read already" in said
    assert "not read: 1 × .heic; convert" in said


def test_tiny_pictures_are_remarked(tmp_path):
    picture(tmp_path / "a.png", size=(16, 16))
    picture(tmp_path / "b.png", size=(64, 64))
    assert "1 of 2 pictures are under 48 px: as high resolution they would teach blur" in Folder(tmp_path).report()


@pytest.mark.parametrize("suffix", ["jfif", "avif"])
def test_more_suffixes_are_read(suffix, tmp_path):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    picture(tmp_path / f"x.{suffix}", format={"jfif": "JPEG", "avif": "AVIF"}[suffix], size=(16, 16))
    assert np.abs(only(tmp_path).astype(int) - RED).max() < 16


@pytest.mark.parametrize(("file", "cell"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_composed_or_not(file, cell, tmp_path):
    spelt = lambda form: unicodedata.normalize(form, "Zoë.png")
    picture(tmp_path / spelt(file))
    (tmp_path / "Labels.csv").write_text(f"\ufefffile,yaw_deg\r\n{spelt(cell)},7\r\n,\r\n", encoding="utf-8")
    assert Folder(tmp_path)[0]["pose_deg"][0] == 7


def test_a_name_that_is_no_utf8_survives(tmp_path):
    name = b"J\xfcrgen.png"
    try:
        picture(tmp_path / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    (tmp_path / "labels.csv").write_bytes(b"file,yaw_deg\n" + name + b",7\n")
    record = Folder(tmp_path)[0]
    assert record["pose_deg"][0] == 7
    assert os.fsencode(record["name"]) == name
    files.write_json(tmp_path / "out.json", {"name": record["name"]})
    assert json.loads(files.read_text(tmp_path / "out.json")) == {"name": record["name"]}


def test_one_bad_line_among_hundreds_is_left_out_and_named(tmp_path):
    for i in range(200):
        picture(tmp_path / f"{i}.png", size=(8, 8))
    lines = [f"{i}.png,{'left' if i == 7 else i - 90}" for i in range(200)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,yaw_deg", *lines]))
    source = Folder(tmp_path)
    assert len(source.labels) == 199
    assert "labels left out" in source.report()
    assert "line 9: yaw_deg is 'left', not a number" in source.report()
    lines[:3] = ["0.png,x", "1.png,y", "2.png,z"]
    (tmp_path / "labels.csv").write_text("\n".join(["file,yaw_deg", *lines]))
    with pytest.raises(ValueError, match=r"line 2: yaw_deg is 'x'.* \(4 of 200 lines are at fault"):
        Folder(tmp_path)


def test_a_huge_jpeg_is_reduced_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 48)
    picture(tmp_path / "x.jpg", size=(128, 96))
    assert read_image(tmp_path / "x.jpg", reduce=True).shape == (48, 64, 3)
    with pytest.raises(BadRecord, match="absurdly large"):
        read_image(tmp_path / "x.jpg")
    picture(tmp_path / "x.png", size=(128, 96))
    with pytest.raises(BadRecord, match="absurdly large"):
        read_image(tmp_path / "x.png", reduce=True)


def test_a_huge_jpeg_of_a_folder_is_reduced_with_its_landmarks(tmp_path, monkeypatch):
    x = np.linspace(0, 1, 256)
    Image.fromarray(np.round(255 * np.stack([np.tile(x, (192, 1))] * 3, -1)).astype(np.uint8)).save(
        tmp_path / "x.jpg", quality=98
    )
    (tmp_path / "labels.csv").write_text("file,x0,y0,x1,y1,x2,y2,x3,y3,x4,y4\nx.jpg,40,50,90,50,65,70,45,100,85,100\n")
    whole = Folder(tmp_path)[0]
    np.testing.assert_array_equal(whole["landmarks5_px"][0], [40, 50])
    monkeypatch.setattr(images, "MAX_PIXELS", 128 * 96)
    for check in ("header", "decode"):
        source = Folder(tmp_path, check=check)
        assert source.skipped == []
        assert source[0]["image"].shape == (96, 128, 3)
    record = source[0]
    np.testing.assert_allclose(record["landmarks5_px"][:2], [[19.75, 24.75], [44.75, 24.75]])
    # They point at the same grey, which here tells the column.
    for big, small in zip(whole["landmarks5_px"], record["landmarks5_px"], strict=True):
        there = np.interp(small[0], np.arange(128), record["image"][40, :, 0])
        assert there == pytest.approx(big[0], abs=1.5)


def png_header(width, height):
    """A PNG that promises a size and holds no pixel."""
    chunk = lambda tag, data: struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture
def rotten(tmp_path):
    """A folder with one good image between bad ones."""
    picture(tmp_path / "d_good.png")
    (tmp_path / "a_empty.jpg").touch()
    (tmp_path / "b_text.jpg").write_text("no image at all")
    picture(tmp_path / "c_one.png", size=(1, 1))
    picture(tmp_path / "e_float.tif", "F", 0.5)
    (tmp_path / "f_huge.png").write_bytes(png_header(10_000, 9_000))  # Pillow only warns of this size
    (tmp_path / "g_bomb.png").write_bytes(png_header(60_000, 60_000))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for name, form in (("h_cut.jpg", "JPEG"), ("i_cut.png", "PNG")):
        noise.save(data := io.BytesIO(), form)
        (tmp_path / name).write_bytes(data.getvalue()[: len(data.getvalue()) // 2])
    return tmp_path


REASONS = {
    "a_empty.jpg": "empty file",
    "b_text.jpg": "not an image",
    "c_one.png": "1×1 is too small for a face (under 8 pixels)",
    "e_float.tif": "floating-point pixels",
    "f_huge.png": "10000×9000 is absurdly large (over 64 million pixels)",
    "g_bomb.png": "absurdly large (over 64 million pixels)",
    "h_cut.jpg": "cannot be decoded",
    "i_cut.png": "cannot be decoded",
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_skipped_and_listed_with_the_reason(rotten):
    source = Folder(rotten, check="decode")
    assert [source[i]["name"] for i in range(len(source))] == ["d_good.png"]
    assert dict(source.skipped).keys() == REASONS.keys()
    for name, reason in source.skipped:
        assert reason.startswith(REASONS[name]), (name, reason)
    report = source.report()
    assert "1 images, 0 with labels, 8 skipped" in report
    assert all(f"\n  {name}: " in report for name in REASONS)


def test_by_header_a_file_cut_short_is_found_when_it_is_read(rotten):
    source = Folder(rotten)
    assert len(source.skipped) == 6
    assert len(source) == 3
    for _ in range(2):  # the second time is no second file
        with pytest.raises(BadRecord, match=r"h_cut\.jpg: cannot be decoded"):
            source[1]
    assert source.skipped[6:] == [("h_cut.jpg", source.skipped[-1][1])]


def test_a_folder_without_images_says_what_it_has(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        Folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no image that can be read"):
        Folder(tmp_path)
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"1 skipped, e.g. .*empty file"):
        Folder(tmp_path)
    with pytest.raises(ValueError, match="checked by 'header' or 'decode'"):
        Folder(tmp_path, check="all")


# ---- Labels


def test_labels_are_found_by_file_and_empty_cells_are_unknown(tmp_path):
    text = "\ufefffile,identity,roll_deg,yaw_deg\nsub\\c.png,Zoe,3,-20.5\n\n./a.png,Al,,10\n"
    source = labelled(tmp_path, text)
    a, b, c = (source[i] for i in range(3))
    np.testing.assert_array_equal(a["pose_deg"], np.array([10, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(c["pose_deg"], np.array([-20.5, np.nan, 3], np.float32))
    assert [r["identity"] for r in (a, b, c)] == [0, -1, 1]
    assert source.identities == {"Al": 0, "Zoe": 1}
    assert np.isnan(b["pose_deg"]).all()


def columns(points):
    return ",".join(f"{axis}{i}" for i in range(points) for axis in "xy")


def test_68_landmarks_bring_the_five_and_missing_points_are_invisible(tmp_path):
    cells = [str(v / 4) for v in range(136)]
    cells[6:8] = "", ""
    source = labelled(tmp_path, f"file,{columns(68)}\na.png,{','.join(cells)}\n")
    record = source[0]
    points = record["landmarks_px"]
    np.testing.assert_array_equal(points[[0, 67]], [[0, 0.25], [33.5, 33.75]])
    assert np.isnan(points[3]).all()
    np.testing.assert_array_equal(record["visible"], np.arange(68) != 3)
    wanted = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    np.testing.assert_array_equal(record["landmarks5_px"], wanted)


def test_five_landmarks_stay_five(tmp_path):
    record = labelled(tmp_path, f"{columns(5)},file\n{','.join('1234567890')},a.png\n")[0]
    np.testing.assert_array_equal(record["landmarks5_px"], [[1, 2], [3, 4], [5, 6], [7, 8], [9, 0]])
    assert np.isnan(record["landmarks_px"]).all()
    assert not record["visible"].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column 'file'"),
        ("name,yaw_deg\na.png,1\n", "line 1: unknown column 'name'; columns are file, yaw_deg"),
        ("file,yaw\na.png,1\n", "line 1: unknown column 'yaw'"),
        ("file,yaw_deg,yaw_deg\na.png,1,2\n", "line 1: column 'yaw_deg' appears twice"),
        ("file,x0,y0\na.png,1,2\n", "line 1: 2 landmark columns; valid are x0, y0, …, x67, y67 or"),
        (f"file,{columns(6)}\n", "line 1: 12 landmark columns"),
        (f"file,{columns(5).replace('x4', 'x5')}\n", "line 1: 10 landmark columns"),
        ("file,yaw_deg\na.png,1\nd.png,2\n", "line 3: no image 'd.png' in the folder; remove the line or add"),
        ("file,yaw_deg\na.png,1\nb.png,left\n", "line 3: yaw_deg is 'left', not a number; leave the cell empty"),
        ("file,yaw_deg\na.png,nan\n", "line 2: yaw_deg is 'nan', not a number"),
        ("file,yaw_deg\na.png,1\na.png,2\n", "line 3: a second line for 'a.png'"),
        ("file,yaw_deg\na.png,1,2\n", "line 2: more cells"),
        ("file,yaw_deg\nb.png\n", "line 2: fewer cells"),
        ("file,yaw_deg\na.png,200\n", "line 2: an angle beyond ±180°"),
        (f"file,{columns(5)}\na.png,1,2,3,,5,6,7,8,9,10\n", "line 2: only one of x1 and y1 is given"),
        ('file,identity\na.png,"two\nlines"\nb.png,1,2\n', "line 4: more cells"),
    ],
)
def test_wrong_labels_name_the_line_and_the_remedy(tmp_path, text, message):
    with pytest.raises(ValueError, match=f"labels.csv, {message}"):
        labelled(tmp_path, text)


def test_labels_in_another_encoding_name_the_line(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_bytes("file,identity\nJosé.png,José\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"labels\.csv, line 2: .*is not UTF-8; save the table"):
        Folder(tmp_path)


def test_a_label_of_an_image_that_is_skipped_is_no_error(tmp_path):
    (tmp_path / "0.png").touch()
    source = labelled(tmp_path, "file,yaw_deg\n0.png,5\na.png,1\n")
    assert (len(source), source.skipped) == (3, [("0.png", "empty file")])


# ---- The real sets


@pytest.mark.parametrize(
    ("name", "count", "people", "points"),
    [("landmarks68", 330, 0, 68), ("pose", 152, 0, 68), ("verification", 1549, 963, 0)],
)
def test_real_folders_are_read_whole(shared, name, count, people, points):
    source = Folder(shared / "faces/val" / name)
    assert (len(source), len(source.identities), source.skipped) == (count, people, [])
    assert source[count // 2]["visible"].sum() == points
