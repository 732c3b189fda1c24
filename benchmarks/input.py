"""Faces per second that the input gives, without a training: the plain path beside the packed one, in turns.

    python benchmarks/input.py                                   # a folder made for it, every row of the table
    taskset -c 0 python benchmarks/input.py                      # the same on one core
    python benchmarks/input.py --faces=64 --batch=8 --seconds=1 --rounds=1 --only=clean     # a smoke test

It makes a folder of JPEGs of noise and blocks (192 pixels, 68 points each) and reads it as a run would
(``pipeline.train_batches``): ``data.where=files``, Python cropping each face, and ``data.where=packed``. Both are open
at once and take turns; of several rounds the fastest counts, since slower rounds measure the load of other programs.
The batches of both are compared first: a row of which they differ ends the run. CPU milliseconds are those of the whole
process over the faces that came out of it, so they depend less on what else runs.

``--json`` writes the table as JSON, with the machine, the versions, the date and the load.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import pathlib
import platform
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jfsr.data import pipeline

SIDE = 192
# name: jitter of the crop, degradation, and where that is done
ROWS = {
    "clean": (0.0, "bicubic", "host"),
    "clean, jitter": (0.05, "bicubic", "host"),
    "paper": (0.0, "paper", "host"),
    "paper, jitter": (0.05, "paper", "host"),
    "on the device": (0.0, "paper", "device"),
    "on the device, jitter": (0.05, "paper", "device"),
}


def make_folder(root: pathlib.Path, faces: int) -> None:
    """A folder of pictures with 68 points each, in the project's format."""
    rng, rows = np.random.default_rng(0), [["file", *(f"{a}{i}" for i in range(68) for a in "xy")]]
    for index in range(faces):
        blocks = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).resize((SIDE, SIDE))
        noisy = np.clip(np.asarray(blocks) + rng.normal(0, 8, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(root / f"{index:05}.jpg", quality=92)
        points = rng.uniform(SIDE * 0.2, SIDE * 0.8, (68, 2)).round(2)
        rows.append([f"{index:05}.jpg", *points.ravel().tolist()])
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def section(folder: pathlib.Path, *, jitter: float, degradation: str, degrade_on: str, where: str) -> ConfigDict:
    source = {
        "dataset": "folder",
        "dir": str(folder),
        "split": "",
        "crop": "landmark_box",
        "margin": 1.2,
        "weight": 1.0,
    }
    data = {"flip": 0.5, "jitter": jitter, "shuffle": True, "degradation": degradation, "degrade_on": degrade_on}
    return ConfigDict(data | {"where": where, "sources": {"faces": source}})


def compare(streams: dict[str, Iterator]) -> None:
    """Ends the run if the first batches of the two paths differ."""
    for _ in range(3):
        plain, packed = (next(stream) for stream in streams.values())
        for key in plain:
            if not np.array_equal(plain[key], packed[key], equal_nan=plain[key].dtype.kind == "f"):
                sys.exit(f"the batches of the two paths differ in {key}")


def measure(streams: dict[str, Iterator], *, batch: int, seconds: float, rounds: int) -> dict[str, tuple[float, float]]:
    """(faces per second, CPU ms per face) of each stream in its best round."""
    best = dict.fromkeys(streams, (0.0, 0.0))
    for _ in range(rounds):
        for name, stream in streams.items():
            for _ in range(8):  # what was prepared while the other stream was timed
                next(stream)
            start, cpu, steps = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - start < seconds:
                next(stream)
                steps += 1
            rate = steps * batch / (time.perf_counter() - start)
            best[name] = max(best[name], (rate, 1000 * (time.process_time() - cpu) / (steps * batch)))
    return best


def machine() -> dict[str, object]:
    """What the numbers depend on besides the code."""
    import tensorflow as tf

    cpus = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []
    names = {line.partition(":")[2].strip() for line in cpus if line.startswith("model name")}
    return {
        "cpu": ", ".join(sorted(names)) or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "numpy": np.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--scale", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round of each path")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--only", default="", help="names of rows, joined by semicolons")
    parser.add_argument("--json", default="", help="also write the table here")
    args = parser.parse_args()

    lines, about = [], machine()
    with tempfile.TemporaryDirectory() as root:
        os.environ["TFDS_DATA_DIR"] = root
        folder = pathlib.Path(root, "faces")
        folder.mkdir()
        make_folder(folder, args.faces)
        print(f"{about['cpu']}, {about['cores']} cores, load {about['load'][0]:.1f}; {args.faces} faces")
        print("| row | files, faces/s | packed, faces/s | ratio | files, CPU ms | packed, CPU ms |")
        print("|---|---|---|---|---|---|")
        for row, (jitter, degradation, degrade_on) in ROWS.items():
            if args.only and row not in args.only.split(";"):
                continue
            how = {"jitter": jitter, "degradation": degradation, "degrade_on": degrade_on}
            streams = {
                where: pipeline.train_batches(
                    section(folder, **how, where=where), scale=args.scale, batch=args.batch, seed=0
                )
                for where in ("files", "packed")
            }
            compare(streams)
            speeds = measure(streams, batch=args.batch, seconds=args.seconds, rounds=args.rounds)
            (plain, plain_ms), (packed, packed_ms) = speeds["files"], speeds["packed"]
            print(
                f"| {row} | {plain:,.0f} | {packed:,.0f} | {packed / plain:.1f} | {plain_ms:.2f} | {packed_ms:.2f} |",
                flush=True,
            )
            lines.append({"row": row, "files": plain, "packed": packed, "ratio": packed / plain})
            lines[-1] |= {"files_cpu_ms": plain_ms, "packed_cpu_ms": packed_ms}
            for stream in streams.values():
                stream.close()
        about["load_after"] = os.getloadavg()
    if args.json:
        pathlib.Path(args.json).write_text(
            json.dumps({"machine": about, "args": vars(args), "rows": lines}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
