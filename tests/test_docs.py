"""What the documents say of the code is so: the departures from the papers are listed, the code map names what exists.

``JFSR_UPDATE=1 python -m pytest tests/test_docs.py`` writes the list of departures anew.
"""

from __future__ import annotations

import os
import re

from support import ROOT

START, END = "<!-- departures: written by tests/test_docs.py -->", "<!-- end of departures -->"


def departures() -> list[tuple[str, str]]:
    """(file, first sentence) of every ``DEVIATES:`` in the code."""
    files = [*sorted((ROOT / "jfsr").rglob("*.py")), *sorted((ROOT / "configs").glob("*.py")), ROOT / "train.py"]
    found = []
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if "DEVIATES:" not in line:
                continue
            before, _, text = line.partition("DEVIATES:")
            comment = "#" in before
            for after in lines[number + 1 :] if comment or '"""' not in text else []:
                bare = after.strip()
                if bare.startswith("#") != comment or bare.strip("#").strip() in ("", '"""') or "DEVIATES" in bare:
                    break
                text += " " + bare.lstrip("# ")
            text = re.sub(r'\)?\.?"""', "", text).strip()
            sentence = re.match(r".*?\.(?=\s|$)|.*", text)[0].strip()
            found.append((file.relative_to(ROOT).as_posix(), sentence if sentence.endswith(".") else sentence + "."))
    return found


def test_every_departure_from_a_paper_is_listed_with_the_configs():
    found = departures()
    assert len(found) > 20
    table = "\n".join(
        ["| where | departure |", "|---|---|", *(f"| `{f}` | {s.replace('|', chr(92) + '|')} |" for f, s in found)]
    )
    page = ROOT / "configs" / "README.md"
    text = page.read_text(encoding="utf-8")
    assert text.count(START) == text.count(END) == 1
    head, rest = text.split(START)
    listed, tail = rest.split(END)
    if os.environ.get("JFSR_UPDATE"):
        page.write_text(f"{head}{START}\n{table}\n{END}{tail}", encoding="utf-8")
        return
    assert listed.strip() == table, (
        "configs/README.md is behind the code: JFSR_UPDATE=1 python -m pytest tests/test_docs.py"
    )


def test_the_code_map_names_every_module_and_none_that_is_gone():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## Code map\n+```\n(.*?)```", readme, re.DOTALL)[1]
    named = set(re.findall(r"[\w/]+\.py", block))
    modules = {
        f.name
        for f in (ROOT / "jfsr").rglob("*.py")
        if f.name != "__init__.py" and "datasets" not in f.relative_to(ROOT).parts
    }
    assert not modules - {name.rsplit("/", 1)[-1] for name in named}, "modules that the code map does not name"
    for name in named:
        homes = [ROOT, ROOT / "benchmarks", ROOT / "jfsr", *(d for d in (ROOT / "jfsr").rglob("*") if d.is_dir())]
        assert any((home / name.rsplit("/", 1)[-1]).is_file() for home in homes), f"{name} is gone"
