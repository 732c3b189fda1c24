"""Photographs on disk: what ``jfsr restore PATH…`` and ``jfsr pose PATH…`` do.

    OUT/photos/NAME.png     the photograph with its restored faces in it, enlarged so that they keep their pixels
    OUT/overlay/NAME.png    the same with the axes of each head and the number of each face
    OUT/faces/NAME_1.png    each face, restored, as a square
    OUT/faces.csv           a line for each face
    OUT/report.html         all of it on a page (``--report``)

A photograph of a folder keeps its place in it. Pictures are written as they are done; the table comes at the end, also
after an interruption. Of any number of photographs a few are in memory at a time.
"""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import math
import pathlib
import sys
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from tqdm import tqdm

from jfsr import files
from jfsr.data import csvfile, video
from jfsr.data.boxes import Face
from jfsr.data.images import find_images, read_reduced
from jfsr.data.photos import square
from jfsr.data.records import BadRecord
from jfsr.drawing import figures
from jfsr.photos import BySize, PhotoFace, enlargement, pasted

COLUMNS = (
    *("file", "time_s", "face", "x0", "y0", "x1", "y1", "score", "native_px", "needs_sr", "model", "left_alone"),
    *("yaw_deg", "pitch_deg", "roll_deg", "yaw_before_deg", "pitch_before_deg", "roll_before_deg", "change_deg"),
)
FOLDERS = ("photos", "overlay", "faces")

Find = Callable[[UInt8[np.ndarray, "h w 3"]], Sequence[Face]]


@dataclasses.dataclass
class Done:
    """What :func:`restore` or :func:`read_poses` did.

    Attributes:
      photos: how many were read.
      rows: a line for each face, by ``COLUMNS``.
      without: the photographs in which no face was found.
      bad: (name, reason) of what could not be read.
      left_out: (name, reason) of boxes that lie outside their photograph.
    """

    photos: int = 0
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    without: list[str] = dataclasses.field(default_factory=list)
    bad: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    left_out: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def text(self) -> str:
        """A line for people."""
        models = Counter(row["model"] or "left alone" for row in self.rows)
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(models.items()))
        many = lambda count, what: f"{count} {what}{'s' if count != 1 else ''}"
        return f"{many(self.photos, 'photograph')}, {many(len(self.rows), 'face')}" + (f" ({kinds})" if kinds else "")


def collect(paths: Sequence[pathlib.Path], *, videos: bool = False) -> tuple[dict[str, pathlib.Path], list[str]]:
    """The pictures of some files and folders by their names in the results, and what was not looked at, for people.

    A name is the path below its folder without the suffix, with it where two would be one.

    Args:
      paths: files and folders; the videos of a folder are not looked for.
      videos: whether files may be videos.

    Raises:
      ValueError: a path is absent, there is no picture, or two of the same name, or one is a video and may not be.
    """
    found: list[tuple[pathlib.PurePath, pathlib.Path]] = []
    notes: list[str] = []
    for path in paths:
        if path.is_dir():
            images = find_images(path)
            found += [(file.relative_to(path), file) for file in images.files]
            notes += [f"{path}: {note}" for note in images.notes]
        elif path.is_file():
            if path.suffix.lower() in video.SUFFIXES and not videos:
                raise ValueError(f"{path} is a video, which is not restored; jfsr pose reads its heads")
            found.append((pathlib.PurePath(path.name), path))
        else:
            raise ValueError(f"no such file or folder: {path}")
    if not found:
        raise ValueError(f"no picture in {', '.join(map(str, paths))}")
    short = Counter(str(place.with_suffix("")) for place, _ in found)
    out: dict[str, pathlib.Path] = {}
    for place, file in found:
        name = str(place.with_suffix("")) if short[str(place.with_suffix(""))] == 1 else str(place)
        if name in out:
            if out[name].samefile(file):
                continue
            raise ValueError(f"{out[name]} and {file} would both be {name!r}; restore them into different folders")
        out[name] = file
    return out, notes


def check_target(out: pathlib.Path, pictures: Mapping[str, pathlib.Path], *, overwrite: bool) -> None:
    """ValueError if a folder holds results that are not to be replaced, or pictures that are to be restored."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file; -o takes a folder")
    earlier = [name for name in (*FOLDERS, "faces.csv") if (out / name).exists()]
    if earlier and not overwrite:
        raise ValueError(f"{out / earlier[0]} exists; give another folder with -o, or --overwrite")
    places = [(out / name).resolve() for name in FOLDERS]
    for picture in pictures.values():
        if any(picture.resolve().is_relative_to(place) for place in places):
            raise ValueError(
                f"{picture} is an input where results go, and could be replaced; give another folder with -o"
            )


def boxes_by_name(
    faces: Mapping[str, list[Face]], pictures: Mapping[str, pathlib.Path], file: pathlib.Path
) -> dict[str, list[Face]]:
    """The faces of a CSV of boxes by the pictures' names in the results; files are named as below their folder.

    Raises:
      ValueError: a picture has no line (it would be restored as one without faces).
    """
    names = csvfile.Names(faces)
    out = {}
    for name, picture in pictures.items():
        for spelling in (name + picture.suffix, picture.name, name):
            try:
                out[name] = faces[names.find(spelling, str(file))]
                break
            except csvfile.Bad:
                continue
        else:
            raise ValueError(f"{file} has no line for {picture.name}; add one, with empty cells if it has no face")
    return out


def restore(
    pictures: Mapping[str, pathlib.Path],
    out: pathlib.Path,
    *,
    by: BySize,
    find: Find,
    boxes: Mapping[str, list[Face]] | None = None,
    enlarge: int = 0,
    report: bool = False,
) -> Done:
    """Restores the faces of photographs and writes all that the module names.

    Args:
      pictures: by their names in the results.
      out: the folder; it is made.
      by: the networks.
      find: finds the faces of a photograph; not called where ``boxes`` are given.
      boxes: the faces of each picture, by its name.
      enlarge: the factor by which photographs grow; 0 = as much as their smallest restored face needs.
      report: write the page, too.
    """
    done, entries = Done(), []
    try:
        for name, photo, faces in _faces(pictures, by=by, find=find, boxes=boxes, done=done):
            factor = enlarge or enlargement(photo, faces)
            whole = pasted(photo, faces, enlarge=factor)
            _write(out / "photos" / f"{name}.png", whole)
            _write(out / "overlay" / f"{name}.png", overlay(whole, faces, enlarge=factor))
            for number, face in enumerate(faces, 1):
                _write(out / "faces" / f"{name}_{number}.png", face.image)
            entries.append(_entry(name, faces))
    finally:
        if done.photos:
            out.mkdir(parents=True, exist_ok=True)
            files.write_text(out / "faces.csv", to_csv(done.rows))
            if report:
                files.write_text(out / "report.html", _page(done, entries))
    return done


def read_poses(
    pictures: Mapping[str, pathlib.Path],
    *,
    by: BySize,
    find: Find,
    boxes: Mapping[str, list[Face]] | None = None,
    every_s: float = 1.0,
) -> Done:
    """The poses of the faces of photographs and of frames of videos, restored where that helps; writes nothing.

    Args:
      pictures, by, find, boxes: as for :func:`restore`; a picture may be a video.
      every_s: of a video, from one frame to the next, in seconds.
    """
    done = Done()
    for _ in _faces(pictures, by=by, find=find, boxes=boxes, done=done, every_s=every_s):
        pass
    return done


def _faces(
    pictures: Mapping[str, pathlib.Path],
    *,
    by: BySize,
    find: Find,
    boxes: Mapping[str, list[Face]] | None,
    done: Done,
    every_s: float = 1.0,
) -> Iterator[tuple[str, Any, list[PhotoFace]]]:
    """Each photograph with its restored faces, counted in ``done`` as it is handed out."""

    def read(name: str, file: pathlib.Path) -> Iterator[tuple[float, Any, Sequence[Face]]]:
        if file.suffix.lower() in video.SUFFIXES:
            yield from ((time_s, frame, find(frame)) for time_s, frame in video.frames(file, every_s=every_s))
        else:
            photo, ratio = read_reduced(file)
            given = None if boxes is None else [_scaled(face, ratio) for face in boxes[name]]
            yield math.nan, photo, find(photo) if given is None else given

    def inside(name: str, photo: Any, faces: Sequence[Face]) -> Iterator[Face]:
        for face in faces:
            try:
                square(photo, face)
                yield face
            except BadRecord as error:
                done.left_out.append((name, str(error)))

    def found() -> Iterator[tuple[tuple[str, float], Any, Sequence[Face]]]:
        for name, file in tqdm(pictures.items(), unit="photo", disable=not sys.stderr.isatty()):
            try:
                for time_s, photo, faces in read(name, file):
                    yield (name, time_s), photo, list(inside(name, photo, faces))
            except BadRecord as error:
                done.bad.append((name, str(error)))

    for (name, time_s), photo, faces in by.photos(found()):
        done.photos += 1
        if not faces:
            done.without.append(name if math.isnan(time_s) else f"{name} at {time_s:g} s")
        done.rows += [row(str(pictures[name]), number, face, time_s) for number, face in enumerate(faces, 1)]
        yield name, photo, faces


def _scaled(face: Face, ratio: float) -> Face:
    return Face(face.box_px * ratio, (face.points_px + 0.5) * ratio - 0.5, face.score)


def row(file: str, number: int, face: PhotoFace, time_s: float = math.nan) -> dict[str, Any]:
    """The line of a face in ``faces.csv``: sizes in pixels of the photograph, angles in degrees; '' = unknown.

    ``time_s`` is of a frame of a video.
    """
    numbers = [*face.box_px, face.score, face.native_px, face.needs_sr]
    angles = [*face.pose_deg, *face.pose_before, face.change_deg]
    shown = lambda values, digits: [round(float(v), digits) if np.isfinite(v) else "" for v in values]
    cells = [file, *shown([time_s], 3), number, *shown(numbers, 3), face.model, face.why, *shown(angles, 2)]
    return dict(zip(COLUMNS, cells, strict=True))


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The table of faces as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _write(file: pathlib.Path, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(file, figures.png(picture))


# ---- Pictures for people


def overlay(
    photo: UInt8[np.ndarray, "h w 3"], faces: Sequence[PhotoFace], *, enlarge: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph with each head's axes and each face's box and number.

    Args:
      photo: with its restored faces, enlarged.
      faces: in pixels of the photograph before it was enlarged.
      enlarge: the factor.
    """
    canvas = Image.fromarray(photo)
    for number, face in enumerate(faces, 1):
        x0, y0, side = (round(v * enlarge) for v in face.square)
        # Axes may leave the square, and drawing them over all of a large photograph would take gigabytes.
        around = canvas.crop((x0 - side // 2, y0 - side // 2, x0 + 2 * side - side // 2, y0 + 2 * side - side // 2))
        drawn = figures.draw_axes(np.asarray(around), face.pose_deg, length=0.3)
        canvas.paste(Image.fromarray(drawn), (x0 - side // 2, y0 - side // 2))
        pen = ImageDraw.Draw(canvas)
        colour = (255, 215, 0) if face.model else (200, 200, 200)
        pen.rectangle([x0, y0, x0 + side, y0 + side], outline=colour, width=max(1, side // 64))
        pen.text((x0 + 3, y0 + 1), str(number), fill=colour, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(canvas)


def _entry(name: str, faces: Sequence[PhotoFace]) -> str:
    """A photograph of the page: the picture, and a line for each face."""
    quoted = html.escape(files.printable(name))
    link = lambda folder, stem: urllib.parse.quote(f"{folder}/{stem}.png", errors="surrogateescape")
    lines = []
    for number, face in enumerate(faces, 1):
        angles = "–" if not np.isfinite(face.pose_deg).all() else " / ".join(f"{v:+.0f}°" for v in face.pose_deg)
        moved = f"{face.change_deg:.0f}°" if np.isfinite(face.change_deg) else "–"
        lines.append(
            f'<tr><td>{number}</td><td><img loading="lazy" src="{link("faces", f"{name}_{number}")}" alt="face '
            f'{number}" width="96"></td><td>{face.native_px:.0f} px</td><td>{html.escape(face.model or face.why)}</td>'
            f"<td>{angles}</td><td>{moved}</td></tr>"
        )
    head = "<tr><th>face</th><th></th><th>size</th><th>model</th><th>yaw / pitch / roll</th><th>moved</th></tr>"
    table = f'<div class="scroll"><table>{head}{"".join(lines)}</table></div>' if lines else "<p>No face.</p>"
    image = f'<a href="{link("photos", name)}"><img loading="lazy" src="{link("overlay", name)}" alt="{quoted}"></a>'
    return f"<h2>{quoted}</h2><figure>{image}</figure>{table}"


def _page(done: Done, entries: Sequence[str]) -> str:
    from jfsr.drawing.report import STYLE

    bad = "".join(f"<li>{html.escape(files.printable(reason))}</li>" for _, reason in done.bad)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>Restored faces</title><style>{STYLE}</style></head>'
        f"<body><main><h1>{html.escape(done.text())}</h1>"
        "<p>A restored face is a guess at what was there. It is no evidence of who somebody is.</p>"
        f"{''.join(entries)}{f'<h2>Not read</h2><ul>{bad}</ul>' if bad else ''}</main></body></html>\n"
    )
