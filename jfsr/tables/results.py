"""What a table says of a system: scores, the paper's rows, facts; and two results side by side."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jfsr import evals, files, metrics
from jfsr.evals import Context
from jfsr.evals.faces import Line
from jfsr.tables import protocols, summary
from jfsr.tables.columns import (
    ROW_TITLES,
    Table,
    every_column,
    legends,
    number,
    row_order,
    row_title,
    shown,
    split_row,
    with_interval,
)
from jfsr.tables.printed import Printed
from jfsr.tables.protocols import Protocol
from jfsr.tables.summary import Summary, column, subject_row
from jfsr.tables.variants import Claim

NO_CLAIM = Claim()


class Result(NamedTuple):
    """One table scored: everything that the Markdown page, the HTML page and the summary say.

    Attributes:
      title: of the table, with the scale.
      summary: mean and interval by row and column.
      facts: sentences.
      tables: by heading, the scores first.
      protocol: its text.
      legend: what the columns mean.
      dropped: how many faces each rule left out.
    """

    title: str
    summary: Summary
    facts: list[str]
    tables: dict[str, Table]
    protocol: str
    legend: str
    dropped: dict[str, int]

    def markdown(self) -> str:
        """The result as a Markdown page."""
        blocks = [f"# {self.title}"]
        for i, (heading, table) in enumerate(self.tables.items()):
            blocks += [f"## {heading}"] if i else []
            blocks.append(table.markdown())
            if i == 0:
                blocks.append("\n".join(f"- {fact}" for fact in self.facts))
        return "\n\n".join([*blocks, self.legend, f"Protocol: {self.protocol}"]) + "\n"


def of_lines(
    lines: list[Line],
    protocol: Protocol,
    context: Context,
    *,
    claim: Claim = NO_CLAIM,
    notes: Sequence[str] = (),
    unusable: Sequence[str] = (),
) -> Result:
    """The result of a table.

    Args:
      lines: of the task's evaluators, one per face, pair or probe and row.
      protocol: what was scored, and how.
      context: what the evaluators had.
      claim: the printed rows that the system may stand beside, see :func:`paper_table`.
      notes: why something was not scored.
      unusable: why faces could not be read or cropped.
    """
    evaluators = evals.evaluators(protocol.task).values()
    said = [fact for e in evaluators if hasattr(e, "facts") for fact in e.facts(lines, context)]
    means, own_facts = _summarize(lines, protocol)
    facts = [*own_facts, *said, *notes, *comparable(protocol), *baseline_gaps(means, protocol)]
    extra: dict[str, Table | None] = {}
    if protocol.task == "faces":
        facts.insert(0, counts(lines, protocol, unusable))
        gap = summary.gap_closed(means)
        if not math.isnan(gap):
            facts.insert(0, f"Gap closed, (bicubic − ours) / (bicubic − original) of the MAE: {gap:.1f} %")
        extra["By yaw"] = yaw_table(lines, protocol)
    if protocol.paper and "ours" in means:
        facts += [x for x in (claim.why, claim.training) if x]
    if absent := absent_rows(means, protocol, claim=claim):
        facts.append(f"Printed rows without a number of ours need — {'; '.join(absent)}")
    beside = paper_table(means, protocol, claim=claim)
    tables = {"Scores": main_table(means), **extra, "Beside the paper": beside}
    return Result(
        title=f"{protocol.title}, ×{protocol.scale}",
        summary=means,
        facts=facts,
        tables={heading: table for heading, table in tables.items() if table},
        protocol=protocol.text(),
        legend=_legend(means, protocol),
        dropped=summary.dropped(lines, unusable),
    )


def _summarize(lines: list[Line], protocol: Protocol) -> tuple[Summary, list[str]]:
    """Means and intervals; of an evaluator that has its own, those, and what it says of them."""
    own = [e for e in evals.evaluators(protocol.task).values() if hasattr(e, "summarize")]
    if not own:
        return summary.summarize(lines, shown(protocol.colour)), []
    (evaluator,) = own
    means, facts = evaluator.summarize(lines)
    return {row: means[row] for row in sorted(means, key=row_order)}, facts


def _legend(means: Summary, protocol: Protocol) -> str:
    keys = [key for key in every_column() if any(key in scores for scores in means.values())]
    head, tail = [], []
    if protocol.task == "faces":
        head = ["Intervals: 95 %, percentile bootstrap over faces."]
        tail = ["n: faces, or faces with a pose / faces."]
    return " ".join([*head, *legends(keys), *tail])


# ---- Tables


def main_table(means: Summary) -> Table:
    """Every row with every score, each with its 95 % interval."""
    keys = [key for key in every_column() if any(key in scores for scores in means.values())]
    body = [
        [row_title(row), *(with_interval(scores.get(key), key) for key in keys), _count(scores)]
        for row, scores in means.items()
    ]
    return Table(["", *(every_column()[key].title for key in keys), "n"], body)


def yaw_table(lines: Sequence[Line], protocol: Protocol) -> Table | None:
    """Mean pose error and PSNR by |yaw| of the label; None without labels."""
    rows = [row for row in ("original", "bicubic", "ours") if any(line["row"] == row for line in lines)]
    subject = subject_row(lines)
    kept = np.array([line.get("dropped") == "" for line in lines if line["row"] == subject], bool)
    if not kept.any():
        return None
    quality = next(key for key in shown(protocol.colour) if key.startswith("psnr"))
    body = []
    for label, inside in metrics.yaw_bins(column(lines, subject, "yaw_true")).items():
        inside = inside & kept
        cells = [_mean(column(lines, row, "mae")[inside], "mae") for row in rows]
        cells += [_mean(column(lines, row, quality)[inside], quality) for row in rows[1:]]
        body.append([label, str(int(inside.sum())), *cells])
    head = ["|yaw|", "n", *(f"{ROW_TITLES[r]} MAE °" for r in rows), *(f"{ROW_TITLES[r]} PSNR" for r in rows[1:])]
    return Table(head, body)


def paper_table(means: Summary, protocol: Protocol, *, claim: Claim = NO_CLAIM) -> Table | None:
    """Paper, ours, Δ and n for every row that the paper prints at this scale; None if it prints none.

    Below them stands what is beside no printed row: a system that is not the paper's configuration, or one whose row
    the table does not print.

    Args:
      means: our numbers.
      protocol: has the printed rows, and the scale; the rows of the originals (scale 1) are always shown.
      claim: which printed rows of 'ours' our system is.
    """
    keys = list(dict.fromkeys([*(key for printed in protocol.paper for key in printed.scores), *protocol.extra]))
    body = []
    used = set()
    for printed in protocol.paper:
        if printed.scale not in (1, protocol.scale):
            continue
        body.append([_label(printed), "paper", *(number(printed.scores.get(key), key) for key in keys), ""])
        if printed.row not in means or not claims(printed, claim):
            continue
        values = _values(means, printed.row, keys, protocol)
        if any(values[key] is not None for key in printed.scores):
            used.add(printed.row)
            body.append(
                ["", "ours", *(number(value, key) for key, value in values.items()), _count(means[printed.row])]
            )
            gaps = (number(_minus(values[key], printed.scores.get(key)), key, sign="+") for key in keys)
            body.append(["", "Δ", *gaps, ""])
    for row in ("ours", "ours+gate"):
        wanted = row == "ours" or any(printed.row == row for printed in protocol.paper)
        values = _values(means, row, keys, protocol) if row in means and wanted and row not in used else {}
        if body and any(value is not None for value in values.values()):
            what = "beside no printed row" if claim.rows else "not the paper's configuration"
            cells = (number(value, key) for key, value in values.items())
            body.append([f"{row_title(row)}: {what}", "ours", *cells, _count(means[row])])
    return Table(["", "", *(every_column()[key].title for key in keys), "n"], body) if body else None


def claims(printed: Printed, claim: Claim) -> bool:
    """Whether our number may stand beside a printed row: always a baseline's; a system's only if it is the paper's."""
    return not printed.variant or printed.variant in claim.rows


def _values(means: Summary, row: str, keys: Sequence[str], protocol: Protocol) -> dict[str, float | None]:
    """Our number of every column of the paper's table; in a relative one, the gap to the same network's originals."""
    values = {key: means[row][key].mean if key in means[row] else None for key in keys}
    if not protocol.relative:
        return values
    _, qualifier = split_row(row)
    base = means.get(f"original@{qualifier}" if "@" in row else "original", {})
    return {key: _minus(value, base[key].mean if key in base else None) for key, value in values.items()}


def compare(a: Mapping[str, Any], b: Mapping[str, Any], *, names: tuple[str, str]) -> Table:
    """Two results, as their ``summary.json`` hold them, side by side.

    Raises:
      ValueError: they were not scored under one protocol, or by networks of other weights: names what differs.
    """
    gaps = protocols.different(a.get("protocol_fields", {}), b.get("protocol_fields", {}))
    gaps |= {key: (a[key], b[key]) for key in a if key.endswith("network sha256") and key in b and a[key] != b[key]}
    if gaps or "protocol_fields" not in a or "protocol_fields" not in b:
        said = "\n  ".join(f"{key}: {x!r} | {y!r}" for key, (x, y) in gaps.items()) or "no protocol in summary.json"
        raise ValueError(
            f"{names[0]} and {names[1]} were not scored in the same way, so their numbers do not compare:\n  {said}"
        )
    sets = [x.get("faces", {}) for x in (a, b)]
    if all(sets) and sets[0] != sets[1]:
        counts = [f"{x['count']:,}" for x in sets]
        what = f"{counts[0]} and {counts[1]} of them" if counts[0] != counts[1] else f"{counts[0]} each, but others"
        raise ValueError(
            f"{names[0]} and {names[1]} did not score the same faces or pairs ({what}), so their numbers do not "
            "compare: score both without --limit, on the same set"
        )
    keys = [key for key in every_column() if any(key in s for x in (a, b) for s in x["scores"].values())]
    body = []
    for row in sorted({*a["scores"], *b["scores"]}, key=row_order):
        pair = [x["scores"].get(row, {}) for x in (a, b)]
        means = [{key: scores[key]["mean"] if key in scores else None for key in keys} for scores in pair]
        for name, values in zip(names, means, strict=True):
            body.append([row_title(row), name, *(number(values[key], key) for key in keys)])
        body.append(["", "Δ", *(number(_minus(means[1][key], means[0][key]), key, sign="+") for key in keys)])
    return Table(["", "", *(every_column()[key].title for key in keys)], body)


def compare_files(paths: Sequence[str]) -> Table:
    """Two ``summary.json`` (or their folders) in one table; ValueError unless scored under one protocol."""
    if len(paths) != 2:
        raise ValueError(f"--compare takes two results, joined by a comma; got {len(paths)}")
    summaries = []
    for path in paths:
        file = files.path(path) / "summary.json" if files.path(path).is_dir() else files.path(path)
        try:
            summaries.append(json.loads(files.read_text(file)))
        except (OSError, ValueError) as error:
            raise ValueError(f"{file}: not a summary.json of eval.py ({error})") from error
    return compare(*summaries, names=(paths[0], paths[1]))


# ---- Facts


def comparable(protocol: Protocol) -> list[str]:
    """What keeps our numbers from being the paper's: other networks, and the protocol's own note."""
    out = [protocol.note] if protocol.note else []
    for kind, name in protocol.networks:
        mine = pathlib.Path(getattr(protocol, kind)).name
        if mine != name:
            out.append(f"The paper's {kind} network is {name}; here it is {mine or 'none'}")
    return out


def baseline_gaps(means: Summary, protocol: Protocol) -> list[str]:
    """The bicubic row, ours minus the paper's, and what explains it: if that row is missed, so is the protocol."""
    out = []
    for printed in protocol.paper:
        if printed.row != "bicubic" or printed.scale != protocol.scale or "bicubic" not in means:
            continue
        values = _values(means, "bicubic", list(printed.scores), protocol)
        gaps = {key: _minus(value, printed.scores[key]) for key, value in values.items()}
        said = [f"{every_column()[k].title} {number(gap, k, sign='+')}" for k, gap in gaps.items() if gap is not None]
        if said:
            out.append(f"The bicubic row, ours − paper: {', '.join(said)}. {protocol.residual or RESIDUAL}")
    return out[:1]


# Of a table whose bicubic row nobody could compare with the paper's on the paper's faces.
RESIDUAL = (
    "What is left comes from the faces, their crop and the networks that read them: look there before at a system"
)


def counts(lines: Sequence[Line], protocol: Protocol, unusable: Sequence[str] = ()) -> str:
    """How many faces were scored, how many were left out and by which rule, and whether it is a part of the set."""
    mine = [line for line in lines if line["row"] == subject_row(lines)]
    kept = sum(line.get("dropped") == "" for line in mine)
    text = f"{len(mine)} faces"
    if any("dropped" in line for line in mine):
        text += f", {kept} kept for pose"
    rules = summary.dropped(lines, unusable)
    text += "; dropped: " + (", ".join(f"{n} × {rule}" for rule, n in rules.items()) if rules else "none")
    if protocol.faces and len(mine) + len(unusable) != protocol.faces:
        text += f". A part of the set of {protocol.faces}"
        text += ": not comparable with the paper" if protocol.paper else ""
    return text


def absent_rows(means: Summary, protocol: Protocol, *, claim: Claim) -> list[str]:
    """For each printed row of ours without our number beside it: what it needs."""
    out = []
    for printed in protocol.paper:
        if not printed.row:
            continue
        _, qualifier = split_row(printed.row)
        if printed.scale not in (1, protocol.scale):
            out.append(f"{_label(printed)}: a ×{printed.scale} system")
        elif not claims(printed, claim):
            out.append(f"{_label(printed)}: a run of the paper's configuration {printed.variant!r}")
        elif printed.row not in means:
            out.append(f"{_label(printed)}: " + (f"--{qualifier}" if qualifier else "a network that reads it"))
    return out


def _label(printed: Printed) -> str:
    return f"{printed.label} ×{printed.scale}" if printed.scale > 1 else printed.label


def _mean(values: np.ndarray, key: str) -> str:
    values = values[~np.isnan(values)]
    return number(float(values.mean()) if len(values) else None, key)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _count(scores: Mapping[str, metrics.Interval]) -> str:
    """'64', or '61 / 64' where fewer faces count for the pose."""
    everything = max(interval.n for interval in scores.values())
    pose = scores["mae"].n if "mae" in scores else everything
    return str(everything) if pose == everything else f"{pose} / {everything}"
