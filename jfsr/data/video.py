"""Frames of a video file, sampled at even times, by ffmpeg (package ``imageio-ffmpeg``, extra ``video``)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from jfsr.data.records import BadRecord

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}


def frames(path: pathlib.Path, *, every_s: float = 1.0) -> Iterator[tuple[float, UInt8[np.ndarray, "h w 3"]]]:
    """(time in seconds, frame) of a video, from its beginning, one frame in memory at a time.

    Args:
      path: of the file.
      every_s: from one frame to the next.

    Raises:
      ImportError: without the package.
      BadRecord: ffmpeg finds no video in the file.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError("videos are read by the package imageio-ffmpeg: pip install 'jfsr[video]'") from error
    film = imageio_ffmpeg.read_frames(str(path), output_params=["-vf", f"fps={1 / every_s}"])
    try:
        width, height = next(film)["size"]
        count = 0
        for data in film:
            yield count * every_s, np.frombuffer(data, np.uint8).reshape(height, width, 3)
            count += 1
    except (OSError, RuntimeError, StopIteration, KeyError, IndexError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise BadRecord(f"{path}: no video that ffmpeg reads ({reason[0].strip()})") from error
    finally:
        film.close()
    if not count:
        raise BadRecord(f"{path}: a video without a frame")
