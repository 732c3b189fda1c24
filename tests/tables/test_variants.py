"""Which printed rows a run claims."""

from __future__ import annotations

import pytest

from jfsr.tables import variants
from jfsr.tables.protocols import TABLES


@pytest.mark.parametrize(
    ("method", "arg", "rows"),
    [
        ("msgan", "generator", {"generator"}),
        ("msgan", "msgan", {"msgan"}),
        ("msgan", "msgan_pa", {"msgan_pa"}),
        ("msgan", "", {"joint"}),
        *(("iafsr", name, {name}) for name in ("sr_net", "srgan", "sr_ou", "sr_angle", "proposed")),
        ("mtun", "", {"r64_s4", "pfuh"}),
        ("mtun", "r16,ph", {"r16_s4", "ph"}),
        ("mtun", "s2,pf", {"r64_s2", "pf"}),
        *(("jasrnet", name, {name}) for name in ("bl", "bl_f", "jt", "jt_f", "full", "concat", "one_stage", "res16")),
        ("jasrnet", "bl_f,align_only", {"bl_f"}),
        ("jasrnet", "one_stage,res16", set()),
        ("pose", "", set()),
    ],
)
def test_variants_name_the_printed_rows_that_a_run_is(load_config, method, arg, rows):
    assert variants.find(load_config(method, arg)) == rows
    printed_rows = {row.variant for table in TABLES.values() for row in table.paper}
    assert rows <= printed_rows
