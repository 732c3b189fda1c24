"""scripts/ start a run again after the exit codes that docs/cluster.md names, and after no other."""

from __future__ import annotations

import subprocess

import pytest
from support import ROOT

# For srun, scontrol and Python: notes how it was called, and ends with the codes of a file, one after the other.
FAKE = """#!/bin/bash
echo "$(basename "$0") $*" >> calls
[ "$(basename "$0")" = scontrol ] && exit 0
code=$(head -n 1 codes)
sed -i 1d codes
exit "$code"
"""


def run(folder, script, *words, codes, **variables):
    """(exit code, how srun, scontrol and Python were called) of a script, in which train.py ends with ``codes``."""
    for name in ("srun", "scontrol", "python"):
        (folder / name).write_text(FAKE)
        (folder / name).chmod(0o755)
    (folder / "codes").write_text("".join(f"{code}\n" for code in codes))
    (folder / "calls").write_text("")
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "SLURM_JOB_ID": "7", "PAUSE": "0", **variables}
    script = ["bash", str(ROOT / "scripts" / script), *words, "--workdir=w"]
    done = subprocess.run(script, cwd=folder, env=environment, timeout=60)
    return done.returncode, (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(("code", "again"), [(0, False), (1, False), (2, False), (3, True), (137, True), (143, True)])
def test_slurm(tmp_path, code, again):
    ended, calls = run(tmp_path, "slurm.sbatch", codes=[code])
    assert ended == code
    assert calls[0] == "srun --kill-on-bad-exit=0 python train.py --workdir=w"
    assert calls[1:] == ["scontrol requeue 7"] * again
    _, calls = run(tmp_path, "slurm.sbatch", codes=[code], SLURM_RESTART_COUNT="20")
    assert len(calls) == 1


@pytest.mark.parametrize(("codes", "starts"), [([0], 1), ([3, 137, 0], 3), ([134, 2], 2), ([143], 1), ([3] * 9, 4)])
def test_two_hosts(tmp_path, codes, starts):
    ended, calls = run(tmp_path, "two_hosts.sh", "h:9", "2", "1", codes=codes, RESTARTS="3")
    assert ended == codes[starts - 1]
    assert calls == ["python train.py --coordinator=h:9 --processes=2 --process=1 --workdir=w"] * starts
