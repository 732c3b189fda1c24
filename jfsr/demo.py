"""A page in the browser: drop a photograph, see its faces restored and the poses of the heads (``jfsr demo``).

The page is gradio's; what it shows is computed by :func:`look`, which knows nothing of it. It serves this computer
alone unless told otherwise, takes pictures of up to ``MAX_MB``, works on one at a time, and keeps none: an upload is
removed as soon as it is read, the pictures shown go after ten minutes, or with the server.
"""

from __future__ import annotations

import atexit
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jfsr import album, files
from jfsr.data.images import read_reduced
from jfsr.photos import BySize, PhotoFace, enlargement, pasted
from jfsr.training import runs

MAX_MB = 20
MAX_FACES = 24  # of one photograph, the largest
NARROW = 320  # px; on a narrow screen columns become rows
WAITING = 8  # pictures; a further one is told to come later

HEAD = ("face", "box", "native px", "gate", "restored by", "yaw °", "pitch °", "roll °", "moved °")
ABOUT = """# jfsr
Drop a photograph. Faces of 6 to 28 px are restored to 128 px; larger ones are left as they are. A restored face is a
guess at what was there: it is no evidence of who somebody is. *Gate*: how probable it is that a face was small or
blurred. Nothing that you drop is kept."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What the page shows of a photograph.

    Attributes:
      bicubic, restored: the photograph, enlarged by the same factor, without and with its restored faces.
      overlay: the restored one with the axes and the number of each face.
      rows: a line of ``HEAD`` for each face.
      message: what was done, a line.
    """

    bicubic: UInt8[np.ndarray, "h w 3"]
    restored: UInt8[np.ndarray, "h w 3"]
    overlay: UInt8[np.ndarray, "h w 3"]
    rows: list[list[Any]]
    message: str


def look(file: os.PathLike | str, *, by: BySize, find: album.Find) -> Look:
    """Restores the faces of a photograph.

    Args:
      file: the picture.
      by: the networks.
      find: finds the faces.

    Raises:
      ValueError: it is no picture, too large, or no face was found in it; for the person at the page.
    """
    file = pathlib.Path(file)
    if file.stat().st_size > MAX_MB * 1e6:
        raise ValueError(f"{file.name} has {file.stat().st_size / 1e6:.0f} MB; give a picture of up to {MAX_MB}")
    try:
        photo, _ = read_reduced(file)
    except ValueError as error:
        raise ValueError(str(error).replace(str(file), file.name)) from error
    found = sorted(find(photo), key=lambda face: -float(np.prod(face.box_px[2:] - face.box_px[:2])))
    if not found:
        raise ValueError(f"no face found in {file.name}; give a picture in which a face is at least 10 px high")
    faces = by.photo(photo, found[:MAX_FACES])
    factor = enlargement(photo, faces)
    size = photo.shape[1] * factor, photo.shape[0] * factor
    whole = pasted(photo, faces, enlarge=factor)
    restored = sum(bool(face.model) for face in faces)
    more = f", the largest of {len(found)}" if len(found) > MAX_FACES else ""
    return Look(
        bicubic=np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC)),
        restored=whole,
        overlay=album.overlay(whole, faces, enlarge=factor),
        rows=[_row(number, face) for number, face in enumerate(faces, 1)],
        message=f"{len(faces)} face{'s' if len(faces) != 1 else ''}{more}, {restored} restored",
    )


def _row(number: int, face: PhotoFace) -> list[Any]:
    shown = lambda value: f"{value:+.1f}" if np.isfinite(value) else ""
    box = ", ".join(f"{v:.0f}" for v in face.box_px)
    angles = [shown(v) for v in face.pose_deg]
    gate = f"{face.needs_sr:.2f}" if np.isfinite(face.needs_sr) else ""
    moved = shown(face.change_deg).lstrip("+")
    return [number, box, f"{face.native_px:.0f}", gate, face.model or face.why, *angles, moved]


# ---- The page


def check_port(host: str, port: int) -> None:
    """ValueError if something listens at this port already, or the host is none of this computer's."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise ValueError(
            f"port {port} of {host} cannot be had ({os.strerror(error.errno or 0)}); give another: "
            f"--port={port + 1}; or, if the address is not this computer's, another --host"
        ) from error


@contextmanager
def own_folder() -> Iterator[None]:
    """A folder for gradio's files, which is removed with all that is in it, by Ctrl-C and by SIGTERM, too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = tempfile.mkdtemp(prefix="jfsr_demo_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # gradio's threads may write once more as they end
    os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def gradio() -> Any:
    """The package; ImportError that says how to get it."""
    try:
        import gradio
    except ImportError as error:
        raise ImportError("the page is made by gradio; pip install 'jfsr[demo]'") from error
    return gradio


def page(by: BySize, find: album.Find) -> Any:
    """The page, a ``gradio.Blocks``.

    Raises:
      ImportError: the extra 'demo' is absent.
    """
    gr = gradio()

    def claim(upload: str | None) -> str | None:
        """Gives an upload a place of its own: two people may drop the same picture."""
        if not upload:
            return None
        place = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("GRADIO_TEMP_DIR"))) / pathlib.Path(upload).name
        shutil.move(upload, place)
        return str(place)

    def answer(place: str | None) -> tuple[Any, ...]:
        if not place:
            return None, None, [], ""
        try:
            seen = look(place, by=by, find=find)
        except ValueError as error:
            return None, None, [], f"**{files.printable(str(error))}**"
        finally:
            shutil.rmtree(pathlib.Path(place).parent, ignore_errors=True)
        return (seen.bicubic, seen.restored), seen.overlay, seen.rows, seen.message

    def sample() -> str | None:
        copy = pathlib.Path(tempfile.mkdtemp(dir=os.environ.get("GRADIO_TEMP_DIR"))) / runs.SAMPLE.name
        shutil.copy(runs.SAMPLE, copy)
        return str(copy)

    with gr.Blocks(title="jfsr", analytics_enabled=False, delete_cache=(600, 600)) as blocks:
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column(min_width=NARROW):
                upload = gr.File(label="a photograph", type="filepath", height=120, elem_id="upload")
            with gr.Column(min_width=NARROW):
                example = gr.Button("try the astronaut", elem_id="sample")
        message = gr.Markdown(elem_id="message")
        look_closer = ["fullscreen", "download"]
        with gr.Row():
            with gr.Column(min_width=NARROW):
                slider = gr.ImageSlider(label="bicubic | restored", elem_id="slider", buttons=look_closer)
            with gr.Column(min_width=NARROW):
                overlay = gr.Image(label="poses", elem_id="overlay", buttons=look_closer)
        table = gr.Dataframe(headers=list(HEAD), elem_id="table", interactive=False, wrap=True)
        place, shown = gr.State(), [slider, overlay, table, message]
        at_once: dict[str, Any] = {"queue": False, "api_visibility": "private"}
        # One at a time: a second visitor sees the place in the queue.
        in_turn: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "work", "api_visibility": "private"}
        upload.upload(claim, upload, place, **at_once).then(answer, place, shown, **in_turn)
        upload.clear(lambda: (None, None, [], ""), None, shown, **at_once)
        example.click(sample, None, place, **at_once).then(answer, place, shown, **in_turn)
    return blocks.queue(max_size=WAITING)


def serve(by: BySize, find: album.Find, *, host: str, port: int, wait: bool = True) -> Any:
    """Serves the page until it is interrupted, or with ``wait=False`` until ``close()`` of what is returned."""
    gr = gradio()
    plain = ["system-ui", "sans-serif"]  # fonts of this computer: the page asks nothing of the network
    blocks = page(by, find)
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=not wait,
        max_file_size=f"{MAX_MB}mb",
        theme=gr.themes.Default(font=plain, font_mono=["monospace"]),
        footer_links=[],
        enable_monitoring=False,
        allowed_paths=[],
    )
    return blocks
