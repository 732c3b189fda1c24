"""What the commands share: which files they would write, and that none is replaced unasked."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from jfsr import files


def step(text: str) -> int | str:
    """A checkpoint of an option: its number, or best or last."""
    return int(text) if text.isdigit() else text


def targets(inputs: list[pathlib.Path], out: pathlib.Path) -> list[pathlib.Path]:
    """The PNG for each input; inputs of the same name keep the name of their folder."""
    stems = [f.stem for f in inputs]
    names = [s if stems.count(s) == 1 else f"{f.parent.name}_{s}" for f, s in zip(inputs, stems, strict=True)]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"several images would become {out / twice[0]}.png; restore them into different folders")
    return [out / f"{n}.png" for n in names]


def second_targets(targets: list[pathlib.Path], what: str) -> list[pathlib.Path]:
    """A second file for every target, NAME_what.png."""
    second = [t.with_name(f"{t.stem}_{what}.png") for t in targets]
    for file in set(second) & set(targets):
        raise ValueError(f"{file} would be a face and the {what} of another; restore them into different folders")
    return second


def refuse_to_replace(targets: list[pathlib.Path], inputs: list[pathlib.Path], *, overwrite: bool) -> None:
    """An input is never replaced, a result of an earlier call only on request."""
    resolved = {f.resolve() for f in inputs}
    for target in targets:
        if target.resolve() in resolved:
            raise ValueError(f"{target} is an input and would be replaced; give another folder with -o")
        if target.exists() and not overwrite:
            raise ValueError(f"{target} exists; give another folder with -o, or --overwrite")


def png_target(args: argparse.Namespace, *, example: str, inputs: list[pathlib.Path]) -> pathlib.Path:
    """The one PNG that a command writes."""
    out = files.path(args.out)
    if out.suffix.lower() != ".png":
        raise ValueError(f"-o is {out}; it takes the name of a PNG, for instance {example}")
    refuse_to_replace([out], inputs, overwrite=args.overwrite)
    return out


def write_png(out: pathlib.Path, picture: Any) -> None:
    """Writes a picture and makes its folder."""
    from jfsr.drawing import figures

    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out, figures.png(picture))
