"""Photographs: every face lies whole in a tile at a size at which it is seen, is found once, and gives a square."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jfsr.data import photos
from jfsr.data.boxes import Face
from jfsr.data.records import BadRecord

POINTS = np.array([[30.0, 40], [60, 40], [45, 55], [33, 70], [57, 70]])


def face(*box, score=0.99, points=None):
    return Face(np.array(box, float), np.full((5, 2), np.nan) if points is None else np.array(points, float), score)


def blank(width, height):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (48, 48), (640, 480), (1500, 300), (4000, 3000), (12000, 8000)])
def test_every_face_lies_whole_in_a_tile_where_it_has_enough_pixels_and_not_too_many(width, height):
    steps = photos.scales((height, width))
    assert all(a > b for a, b in itertools.pairwise(steps))
    for scale, after in zip(steps, [*steps[1:], None], strict=True):
        for length in (width, height):
            spans = photos.spans(length, scale)
            assert spans[0][0] == 0
            assert spans[-1][1] == length
            assert all((b - a) * scale <= photos.TILE_PX + 2 * scale for a, b in spans)
            # The largest face that the next step does not see at 24 px fits into what two neighbours share.
            for (_, end), (start, _) in itertools.pairwise(spans):
                assert end - start >= photos.SEEN_PX / after
    last = [photos.spans(length, steps[-1]) for length in (width, height)]
    assert [len(spans) for spans in last] == [1, 1]
    assert steps[0] * photos.SMALLEST_PX == photos.SEEN_PX
    assert len(steps) == {1: 1, 48: 1, 640: 2, 1500: 2, 4000: 3, 12000: 4}[width]


def test_what_is_found_in_tiles_is_in_pixels_of_the_photograph_and_found_once():
    photo = blank(1800, 900)
    photo[300:316, 700:712] = 255  # a face of 12×16, seen by two tiles

    def detect(tile):
        rows, columns = np.nonzero(tile[..., 0] > 128)
        if not len(rows):
            return []
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        middle = np.mean([box[:2], box[2:]], 0) - 0.5
        return [Face(np.array(box, float), np.tile(middle, (5, 1)), 0.95)]

    assert len(photos.scales(photo.shape[:2])) == 2
    (found,) = photos.find(photo, detect)
    np.testing.assert_allclose(found.box_px, [700, 300, 712, 316], atol=1.0)
    np.testing.assert_allclose(found.points_px, np.tile([705.5, 307.5], (5, 1)), atol=0.6)
    assert photos.find(photo, detect, min_score=0.96) == []


def test_two_faces_side_by_side_stay_two_and_the_better_of_two_boxes_is_kept():
    apart = [face(0, 0, 10, 10), face(8, 0, 18, 10, score=0.92)]
    assert photos.distinct(apart) == apart
    inside = [face(0, 0, 10, 10, score=0.91), face(1, 1, 9, 11, score=0.97)]
    assert photos.distinct(inside) == inside[1:]
    assert photos.distinct([]) == []
    assert [f.score for f in photos.distinct([face(0, 0, 4, 4, score=0.99), face(9, 9, 30, 30, score=0.9)])] == [
        0.9,
        0.99,
    ]


def test_the_square_is_the_training_crops_by_points_and_like_it_by_a_box():
    photo = blank(200, 200)
    place = photos.square(photo, face(20, 20, 70, 80, points=POINTS))
    # crops.py: 2.22 eye-mouth distances times the margin 1.2, around .65 of the way from the eyes to the mouth.
    assert place.side == pytest.approx(1.2 * 2.22 * 30)
    assert place.x0 + place.side / 2 == pytest.approx(45.5)
    assert place.y0 + place.side / 2 == pytest.approx(40 + 0.65 * 30 + 0.5)
    by_box = photos.square(photo, face(20, 20, 70, 80))
    assert by_box.side == pytest.approx(1.01 * 60)
    assert photos.cut(photo, place, 16).shape == (16, 16, 3)


@pytest.mark.parametrize("bad", [face(300, 0, 320, 20), face(0, 0, 9, 9, points=np.full((5, 2), 4.0))])
def test_a_face_that_is_none_is_a_bad_record(bad):
    with pytest.raises(BadRecord):
        photos.square(blank(200, 200), bad)


def test_boxes_are_read_with_and_without_points_several_to_a_picture(tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text("file,x0,y0,x1,y1\na.png,1,2,30,40\na.png,50,2,80,40\nb.png,,,,\n")
    got = photos.read_faces(file)
    assert [f.box_px.tolist() for f in got["a.png"]] == [[1, 2, 30, 40], [50, 2, 80, 40]]
    assert got["b.png"] == []
    assert np.isnan(got["a.png"][0].points_px).all()
    points = ",".join(f"p{axis}{i}" for i in range(5) for axis in "xy")
    cells = ",".join(str(v) for v in POINTS.ravel())
    file.write_text(f"file,width,height,score,x0,y0,x1,y1,{points}\na.png,200,200,0.9,1,2,30,40,{cells}\n")
    ((one,),) = photos.read_faces(file).values()
    np.testing.assert_array_equal(one.points_px, POINTS)
    assert one.score == 0.9
    file.write_text("file,x0\na.png,1\n")
    with pytest.raises(ValueError, match=r"boxes.csv, line 1: no column y0, x1, y1"):
        photos.read_faces(file)
