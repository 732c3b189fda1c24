"""Rows per image to numbers for people: Markdown tables with intervals, a CSV of every image, a JSON summary."""

from __future__ import annotations

import collections
import csv
import io
import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jfsr import files, metrics
from jfsr.tables.protocols import Protocol

Rows = list[dict[str, Any]]
Summary = dict[str, dict[str, metrics.Interval]]

POSE_COLUMNS = {
    "yaw_err": "yaw °",
    "pitch_err": "pitch °",
    "roll_err": "roll °",
    "mae": "MAE °",
    "geodesic": "geodesic °",
}
OTHER_COLUMNS = {"lpips": "LPIPS", "identity_cosine": "identity cos"}
LANDMARK_COLUMNS = {"nmse": "NMSE %", "nmse_soft": "NMSE % (soft)"}
PAIR_COLUMNS = {
    "acc": "accuracy %",
    "auc": "AUC",
    "eer": "EER %",
    "tar@0.01": "TAR % at FAR 1 %",
    "tar@0.001": "TAR % at FAR .1 %",
}
RANK_COLUMNS = {"rank1": "rank-1 %"}
NAMES = {
    "original": "Original",
    "bicubic": "Bicubic",
    "nearest": "Nearest",
    "ours": "Ours",
    "direct": "Pose network trained on LR",
}
LATER = ("", "gate", "fsanet")  # rows of a gate's choice, and of a second pose network, stand below the others


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


def split_method(method: str) -> tuple[str, str]:
    """('ours', 'gate') of 'ours+gate', ('bicubic', 'fsanet') of 'bicubic@fsanet', ('ours', '') of 'ours'."""
    base, _, more = method.replace("+", "@").partition("@")
    return base, more


def method_name(method: str) -> str:
    """What people read: 'Bicubic, by FSA-Net'."""
    base, more = split_method(method)
    return NAMES[base] + {"": "", "gate": ", gate", "fsanet": ", by FSA-Net"}[more]


def order(method: str) -> tuple[int, int]:
    """Where a method's rows stand."""
    base, more = split_method(method)
    return LATER.index(more), list(NAMES).index(base)


def merge(*parts: Rows) -> Rows:
    """One row per face and method out of the rows of several evaluations, in the order of the faces."""
    out: dict[tuple[int, tuple[int, int]], dict[str, Any]] = {}
    for row in (row for part in parts for row in part):
        out.setdefault((row["position"], order(row["method"])), {}).update(row)
    return [out[key] for key in sorted(out)]


def column(rows: Rows, method: str, key: str) -> np.ndarray:
    """One number per face of a method, NaN where it was not scored."""
    return np.array([row.get(key, np.nan) for row in rows if row["method"] == method], np.float64)


def summarize(rows: Rows, protocol: Protocol) -> Summary:
    """Mean and 95 % bootstrap interval over the faces, by method and score; scores that no face has are left out."""
    keys = [*POSE_COLUMNS, "shift", *_quality_columns(protocol), *OTHER_COLUMNS, *LANDMARK_COLUMNS]
    out: Summary = {}
    for method in sorted({row["method"] for row in rows}, key=order):
        intervals = {key: metrics.bootstrap(column(rows, method, key)) for key in keys}
        scored = {key: interval for key, interval in intervals.items() if interval.n}
        if scored:
            out[method] = scored
    return out


def gap_closed(summary: Summary, key: str = "mae") -> float:
    """How much of what low resolution costs is won back, in percent: (bicubic - ours) / (bicubic - original)."""
    if any(key not in summary.get(method, {}) for method in ("original", "bicubic", "ours")):
        return math.nan  # nothing to compare
    original, bicubic, ours = (summary[method][key].mean for method in ("original", "bicubic", "ours"))
    return 100.0 * (bicubic - ours) / (bicubic - original) if bicubic > original else math.nan


def judged(rows: Rows) -> str:
    """The method that the result is about: 'ours', or 'bicubic' where the baselines stand alone."""
    return "ours" if any(row["method"] == "ours" for row in rows) else "bicubic"


def dropped(rows: Rows, unusable: Sequence[str] = ()) -> dict[str, int]:
    """How many faces each rule left out of the pose scores, and how many could not be read or cropped at all."""
    mine = judged(rows)
    counts = collections.Counter(row["dropped"] for row in rows if row["method"] == mine and row.get("dropped"))
    return dict(counts) | ({"cannot be read or cropped": len(unusable)} if unusable else {})


def main_table(summary: Summary, protocol: Protocol) -> Table:
    """Every method with every score, each with its 95 % interval."""
    titles = POSE_COLUMNS | {"shift": "moved °"} | _quality_columns(protocol) | OTHER_COLUMNS | LANDMARK_COLUMNS
    titles = titles | PAIR_COLUMNS | RANK_COLUMNS
    keys = [key for key in titles if any(key in scores for scores in summary.values())]
    body = []
    for method, scores in summary.items():
        cells = [_with_interval(scores.get(key), key) for key in keys]
        body.append([method_name(method), *cells, _count(scores)])
    return Table(["", *(titles[key] for key in keys), "n"], body)


def yaw_table(rows: Rows, protocol: Protocol) -> Table | None:
    """Mean pose error and PSNR by |yaw| of the label; None without labels."""
    shown = [m for m in ("original", "bicubic", "ours") if any(row["method"] == m for row in rows)]
    yaw = column(rows, judged(rows), "yaw_true")
    quality = next(iter(_quality_columns(protocol)))
    kept = np.array([row.get("dropped") == "" for row in rows if row["method"] == judged(rows)], bool)
    if not kept.any():
        return None
    body = []
    for label, inside in metrics.yaw_bins(yaw).items():
        inside = inside & kept
        cells = [_mean(column(rows, method, "mae")[inside], "mae") for method in shown]
        cells += [_mean(column(rows, method, quality)[inside], quality) for method in shown[1:]]
        body.append([label, str(int(inside.sum())), *cells])
    head = ["|yaw|", "n", *(f"{NAMES[m]} MAE °" for m in shown), *(f"{NAMES[m]} PSNR" for m in shown[1:])]
    return Table(head, body)


def paper_table(
    summary: Summary, protocol: Protocol, *, scale: int, variants: frozenset[str] = frozenset()
) -> Table | None:
    """Paper, ours, Δ and n of every row that the paper prints at this scale; None if it prints none.

    Args:
      summary: our numbers.
      protocol: has the printed rows.
      scale: rows of this scale, and those of the originals.
      variants: which printed rows of 'ours' our system is, where there are several.
    """
    keys = list(dict.fromkeys(key for row in protocol.paper for key in row.scores))
    titles = {key: ALL_COLUMNS[key] for key in keys}
    base = summary.get("original", {}) if protocol.relative else {}
    body = []
    for row in protocol.paper:
        if row.scale not in (1, scale):
            continue
        name = f"{row.label} ×{row.scale}" if row.scale > 1 else row.label
        body.append([name, "paper", *(number(row.scores.get(key), key) for key in keys), ""])
        ours = summary.get(row.method, {}) if not row.variant or row.variant in variants else {}
        if protocol.relative and "@" in row.method:
            base = summary.get(f"original@{row.method.split('@')[1]}", {})
        elif protocol.relative:
            base = summary.get("original", {})
        values = {key: ours[key].mean if key in ours else None for key in keys}
        if protocol.relative:
            values = {key: _minus(value, base[key].mean if key in base else None) for key, value in values.items()}
        if any(value is not None for value in values.values()):
            body.append(["", "ours", *(number(value, key) for key, value in values.items()), _count(ours)])
            gaps = (number(_minus(values[key], row.scores.get(key)), key, sign="+") for key in keys)
            body.append(["", "Δ", *gaps, ""])
    return Table(["", "", *titles.values(), "n"], body) if body else None


def write_csv(file: os.PathLike | str, rows: Rows) -> None:
    """Every row with every column, atomically; unknown numbers are empty cells, as in a labels.csv."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    files.write_text(file, text.getvalue())


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


def _quality_columns(protocol: Protocol) -> dict[str, str]:
    suffix, name = ("_y", " Y") if protocol.colour == "y" else ("", "")
    return {f"psnr{suffix}": f"PSNR{name}", f"ssim{suffix}": f"SSIM{name}"}


ALL_COLUMNS = {
    **POSE_COLUMNS,
    "psnr": "PSNR",
    "ssim": "SSIM",
    "psnr_y": "PSNR Y",
    "ssim_y": "SSIM Y",
    **OTHER_COLUMNS,
    **LANDMARK_COLUMNS,
    **PAIR_COLUMNS,
    **RANK_COLUMNS,
}


def _digits(key: str) -> int:
    if key == "auc":
        return 4
    return 3 if key.startswith("ssim") or key in OTHER_COLUMNS else 2


def _with_interval(interval: metrics.Interval | None, key: str) -> str:
    if interval is None:
        return "–"
    digits = _digits(key)
    if math.isnan(interval.low):
        return f"{interval.mean:.{digits}f}"
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def _mean(values: np.ndarray, key: str) -> str:
    values = values[~np.isnan(values)]
    return number(float(values.mean()) if len(values) else None, key)


def number(value: float | None, key: str, *, sign: str = "") -> str:
    """A score with the digits of its kind, '–' for none."""
    return "–" if value is None else f"{value:{sign}.{_digits(key)}f}"


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _count(scores: dict[str, metrics.Interval]) -> str:
    """'64', or '61 / 64' where fewer faces count for the pose."""
    everything = max(interval.n for interval in scores.values())
    pose = scores["mae"].n if "mae" in scores else everything
    return str(everything) if pose == everything else f"{pose} / {everything}"
