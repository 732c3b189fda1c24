"""ESRGAN's ×4 network (Wang et al., 2018, arXiv 1809.00219), from which both halves of MSGAN's trunk can start.

The module is ours, `jfsr.models.rrdb.RRDBNet`: RGB in [0, 1], no mean is subtracted. The parameters of this one network
are published under three kinds of keys:

| BasicSR, Real-ESRGAN | ESRGAN, BSRGAN | ESRGAN's old files |
|---|---|---|
| conv_first | conv_first | model.0 |
| body.N.rdb1.conv1 | RRDB_trunk.N.RDB1.conv1 | model.1.sub.N.RDB1.conv1.0 |
| conv_body | trunk_conv | model.1.sub.23 |
| conv_up1, conv_up2 | upconv1, upconv2 | model.3, model.6 |
| conv_hr | HRconv | model.8 |
| conv_last | conv_last | model.10 |

(BasicSR, archs/rrdbnet_arch.py @ 8d56e3a; ESRGAN, RRDBNet_arch.py and transer_RRDB_models.py @ 73e9b63.)
"""

from __future__ import annotations

from jfsr.frozen import rules
from jfsr.frozen.network import FrozenNetwork, PublishedFile
from jfsr.models.rrdb import RRDBNet

# One set of rules serves all three kinds: a file that mixed them would fill one of our arrays twice, which is refused.
_BLOCK = r"(?:body|RRDB_trunk|model\.1\.sub)\.(\d+)\.(?:rdb|RDB)(\d)\.conv(\d)(?:\.0)?"

RULES: tuple[rules.Rule, ...] = (
    *rules.conv(r"(?:conv_first|model\.0)", "trunk/conv_first", bias=True),
    # `#\1`: the blocks are stacked.
    *((key, rf"{path}#\1", how) for key, path, how in rules.conv(_BLOCK, r"trunk/blocks/rdb\2/conv\3", bias=True)),
    *rules.conv(r"(?:conv_body|trunk_conv|model\.1\.sub\.23)", "trunk/conv_trunk", bias=True),
    *rules.conv(r"(?:conv_up1|upconv1|model\.3)", "conv_up1", bias=True),
    *rules.conv(r"(?:conv_up2|upconv2|model\.6)", "conv_up2", bias=True),
    *rules.conv(r"(?:conv_hr|HRconv|model\.8)", "conv_hr", bias=True),
    *rules.conv(r"(?:conv_last|model\.10)", "conv_last", bias=True),
)


NETWORKS = (
    FrozenNetwork(
        name="rrdb",
        kind="warm_start",
        module=RRDBNet(),
        input_size=0,
        features=3,
        rules=RULES,
        files=(PublishedFile("RRDB_ESRGAN_x4.pth"),),
        parameters=16_697_987,
        licence="Apache-2.0",
        published="xinntao/ESRGAN on GitHub, by the links in its README (BasicSR's file of the network will do too)",
    ),
)
