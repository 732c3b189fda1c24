"""Rows per image to numbers for people: Markdown tables with intervals, a CSV of every image, a JSON summary."""

from __future__ import annotations

import collections
import csv
import io
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jfsr import metrics
from jfsr.checkpoint import write_atomic
from jfsr.evals.faces import METHODS
from jfsr.protocols import Printed, Protocol

Rows = list[dict[str, Any]]

POSE_COLUMNS = {
    "yaw_err": "yaw °",
    "pitch_err": "pitch °",
    "roll_err": "roll °",
    "mae": "MAE °",
    "geodesic": "geodesic °",
}
OTHER_COLUMNS = {"identity_cosine": "identity cos"}
LANDMARK_COLUMNS = {"nmse": "NMSE %", "nmse_soft": "NMSE % (soft)"}
NAMES = {"original": "Original", "bicubic": "Bicubic", "ours": "Ours"}


class Table(NamedTuple):
    """Cells as text; the first column names the row."""

    head: list[str]
    body: list[list[str]]

    def markdown(self) -> str:
        """The table in Markdown, columns padded so that it reads in a terminal too."""
        cells = [[cell.replace("|", "\\|") for cell in row] for row in [self.head, *self.body]]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.head))]
        line = lambda row: "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
        return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def merge(*parts: Rows) -> Rows:
    """One row per face and method out of the rows of several evaluations, in the order of the faces."""
    out: dict[tuple[int, int], dict[str, Any]] = {}
    for row in (row for part in parts for row in part):
        out.setdefault((row["position"], METHODS.index(row["method"])), {}).update(row)
    return [out[key] for key in sorted(out)]


def column(rows: Rows, method: str, key: str) -> np.ndarray:
    """One number per face of a method, NaN where it was not scored."""
    return np.array([row.get(key, np.nan) for row in rows if row["method"] == method], np.float64)


def summarize(rows: Rows, protocol: Protocol) -> dict[str, dict[str, metrics.Interval]]:
    """Mean and 95 % bootstrap interval over the faces, by method and score; scores that no face has are left out."""
    keys = [*POSE_COLUMNS, "shift", *_quality_columns(protocol), *OTHER_COLUMNS, *LANDMARK_COLUMNS]
    out: dict[str, dict[str, metrics.Interval]] = {}
    for method in METHODS:
        intervals = {key: metrics.bootstrap(column(rows, method, key)) for key in keys}
        scored = {key: interval for key, interval in intervals.items() if interval.n}
        if scored:
            out[method] = scored
    return out


def gap_closed(summary: dict[str, dict[str, metrics.Interval]], key: str = "mae") -> float:
    """How much of what low resolution costs is won back, in percent: (bicubic - ours) / (bicubic - original)."""
    if any(key not in summary.get(method, {}) for method in METHODS):
        return math.nan  # nothing to compare
    original, bicubic, ours = (summary[method][key].mean for method in METHODS)
    return 100.0 * (bicubic - ours) / (bicubic - original) if bicubic > original else math.nan


def dropped(rows: Rows, unusable: Sequence[str] = ()) -> dict[str, int]:
    """How many faces each rule left out of the pose scores, and how many could not be read or cropped at all."""
    counts = collections.Counter(row["dropped"] for row in rows if row["method"] == "ours" and row.get("dropped"))
    return dict(counts) | ({"cannot be read or cropped": len(unusable)} if unusable else {})


def main_table(summary: dict[str, dict[str, metrics.Interval]], protocol: Protocol) -> Table:
    """Original, bicubic, ours: pose errors, PSNR, SSIM, identity, landmarks, each with its 95 % interval."""
    titles = POSE_COLUMNS | {"shift": "moved °"} | _quality_columns(protocol) | OTHER_COLUMNS | LANDMARK_COLUMNS
    keys = [key for key in titles if any(key in scores for scores in summary.values())]
    body = []
    for method, scores in summary.items():
        cells = [_with_interval(scores.get(key), key) for key in keys]
        body.append([NAMES[method], *cells, _count(scores)])
    return Table(["", *(titles[key] for key in keys), "n"], body)


def yaw_table(rows: Rows, protocol: Protocol) -> Table | None:
    """Mean pose error and PSNR by |yaw| of the label; None without labels."""
    yaw = column(rows, "ours", "yaw_true")
    quality = next(iter(_quality_columns(protocol)))
    kept = np.array([row.get("dropped") == "" for row in rows if row["method"] == "ours"], bool)
    if not kept.any():
        return None
    body = []
    for label, inside in metrics.yaw_bins(yaw).items():
        inside = inside & kept
        cells = [_mean(column(rows, method, "mae")[inside], "mae") for method in METHODS]
        cells += [_mean(column(rows, method, quality)[inside], quality) for method in METHODS[1:]]
        body.append([label, str(int(inside.sum())), *cells])
    head = ["|yaw|", "n", *(f"{NAMES[m]} MAE °" for m in METHODS), *(f"{NAMES[m]} PSNR" for m in METHODS[1:])]
    return Table(head, body)


def paper_table(
    summary: dict[str, dict[str, metrics.Interval]], protocol: Protocol, *, scale: int, variant: str = ""
) -> Table | None:
    """Paper, ours, Δ and n of every row that the paper prints at this scale; None if it prints none.

    Args:
      summary: our numbers.
      protocol: has the printed rows.
      scale: rows of this scale, and those of the originals.
      variant: which printed row of 'ours' stands beside our system, where there are several.
    """
    columns, body = _printed_columns(protocol), []
    for row in protocol.paper:
        if row.scale not in (1, scale):
            continue
        name = f"{row.label} ×{row.scale}" if row.scale > 1 else row.label
        printed = dict(zip(columns, _printed(row), strict=True))
        body.append([name, "paper", *(_number(value, key) for key, value in printed.items()), ""])
        ours = summary.get(row.method, {}) if row.variant in ("", variant) else {}
        if ours:
            values = {key: ours[key].mean if key in ours else None for key in columns}
            body.append(["", "ours", *(_number(value, key) for key, value in values.items()), _count(ours)])
            gaps = (_number(_minus(values[key], printed[key]), key, sign="+") for key in columns)
            body.append(["", "Δ", *gaps, ""])
    return Table(["", "", *columns.values(), "n"], body) if body else None


class Result(NamedTuple):
    """One table scored: everything that the Markdown page, the HTML page and the summary say."""

    title: str
    summary: dict[str, dict[str, metrics.Interval]]
    facts: list[str]
    tables: dict[str, Table]
    protocol: str

    def markdown(self) -> str:
        """The result as a Markdown page."""
        parts = [f"# {self.title}"]
        for i, (heading, table) in enumerate(self.tables.items()):
            parts += [f"## {heading}"] if i else []
            parts.append(table.markdown())
            if i == 0:
                parts.append("\n".join(f"- {fact}" for fact in self.facts))
        return "\n\n".join([*parts, LEGEND, f"Protocol: {self.protocol}"]) + "\n"


LEGEND = (
    "Intervals: 95 %, percentile bootstrap over faces. MAE: mean of the three wrapped angle errors. Moved: rotation "
    "between this reading and the original's. PSNR and SSIM: means of the faces' values. "
    "Identity cos: cosine of the identity network's embeddings of this face and of the original. "
    "NMSE: mean distance of the landmarks over a size of the face, heatmaps decoded by arg-max or by centre of mass. "
    "n: faces, or faces with a pose / faces."
)


def judge(
    rows: Rows,
    protocol: Protocol,
    *,
    scale: int,
    variant: str = "",
    notes: Sequence[str] = (),
    unusable: Sequence[str] = (),
) -> Result:
    """All that a table says of a system.

    Args:
      rows: of :func:`merge`.
      protocol: what was scored, and how.
      scale: of the system.
      variant: see :func:`paper_table`.
      notes: why something was not scored.
      unusable: why faces could not be read or cropped.
    """
    summary = summarize(rows, protocol)
    facts = [counts(rows, protocol, unusable), *notes]
    gap = gap_closed(summary)
    if protocol.paper and protocol.pose != protocol.paper_pose:
        who = f"pose is read by {pathlib.Path(protocol.pose).name}" if protocol.pose else "no pose is read"
        facts.append(f"The paper reads pose by {protocol.paper_pose}; here {who}")
    if not math.isnan(gap):
        facts.insert(0, f"Gap closed, (bicubic − ours) / (bicubic − original) of the MAE: {gap:.1f} %")
    landmarks = column(rows, "ours", "nmse")
    if np.isfinite(landmarks).any():
        facts.append(
            f"Landmarks by arg-max, over {protocol.normaliser}: {metrics.failure_rate(landmarks):.1f} % of the faces "
            f"above 10 %; area under the curve up to 10 %: {metrics.error_auc(landmarks):.1f} %"
        )
    found = {
        "Scores": main_table(summary, protocol),
        "By yaw": yaw_table(rows, protocol),
        "Beside the paper": paper_table(summary, protocol, scale=scale, variant=variant),
    }
    tables = {heading: table for heading, table in found.items() if table}
    return Result(f"{protocol.title}, ×{scale}", summary, facts, tables, protocol.text())


def counts(rows: Rows, protocol: Protocol, unusable: Sequence[str] = ()) -> str:
    """How many faces were scored, how many were left out and by which rule, and whether it is a part of the set."""
    mine = [row for row in rows if row["method"] == "ours"]
    kept = sum(row.get("dropped") == "" for row in mine)
    text = f"{len(mine)} faces"
    if any("dropped" in row for row in mine):
        text += f", {kept} kept for pose"
    rules = dropped(rows, unusable)
    text += "; dropped: " + (", ".join(f"{n} × {rule}" for rule, n in rules.items()) if rules else "none")
    if protocol.faces and len(mine) + len(unusable) != protocol.faces:
        text += f". A part of the set of {protocol.faces}"
        text += ": not comparable with the paper" if protocol.paper else ""
    return text


def write_csv(file: os.PathLike | str, rows: Rows) -> None:
    """Every row with every column, atomically; unknown numbers are empty cells, as in a labels.csv."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    write_atomic(file, text.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


def _quality_columns(protocol: Protocol) -> dict[str, str]:
    suffix, name = ("_y", " Y") if protocol.colour == "y" else ("", "")
    return {f"psnr{suffix}": f"PSNR{name}", f"ssim{suffix}": f"SSIM{name}"}


def _printed_columns(protocol: Protocol) -> dict[str, str]:
    angles = {key: POSE_COLUMNS[key] for key in ("yaw_err", "pitch_err", "roll_err", "mae")}
    return angles | _quality_columns(protocol)


def _printed(row: Printed) -> tuple[float | None, ...]:
    return row.yaw, row.pitch, row.roll, row.mae, row.psnr, row.ssim


def _digits(key: str) -> int:
    return 3 if key.startswith("ssim") or key in OTHER_COLUMNS else 2


def _with_interval(interval: metrics.Interval | None, key: str) -> str:
    if interval is None:
        return "–"
    digits = _digits(key)
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _mean(values: np.ndarray, key: str) -> str:
    values = values[~np.isnan(values)]
    return _number(float(values.mean()) if len(values) else None, key)


def _number(value: float | None, key: str, *, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.{_digits(key)}f}"


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _count(scores: dict[str, metrics.Interval]) -> str:
    """'64', or '61 / 64' where fewer faces count for the pose."""
    everything = max(interval.n for interval in scores.values())
    pose = scores["mae"].n if "mae" in scores else everything
    return str(everything) if pose == everything else f"{pose} / {everything}"
