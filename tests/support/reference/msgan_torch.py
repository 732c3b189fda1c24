"""MSGAN's generator in PyTorch: the reference of tests/models/test_msgan.py and of benchmarks/generator.py."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from support.reference.rrdb_torch import RRDB, copy_blocks, copy_conv


class Trunk(nn.Module):
    def __init__(self, blocks: int, features: int, growth: int):
        super().__init__()
        self.blocks = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x):
        return x + self.conv(self.blocks(x))


class MSGANGenerator(nn.Module):
    def __init__(self, scale: int = 16, features: int = 64, growth: int = 32, blocks: tuple[int, int] = (23, 23)):
        super().__init__()
        conv = lambda inputs, outputs: nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_first = conv(3, features)
        self.trunks = nn.ModuleList(Trunk(n, features, growth) for n in blocks)
        self.halves = {16: ((16, 32), (64, 128)), 8: ((32,), (64, 128))}[scale]
        names = [str(r) for half in self.halves for r in half]
        self.up = nn.ModuleDict({r: conv(features, 4 * features) for r in names})
        self.rgb = nn.ModuleDict({r: conv(features, 3) for r in names})
        self.conv_hr = conv(features, features)

    def forward(self, lr) -> dict[int, torch.Tensor]:
        x, images = self.conv_first(lr), {}
        for trunk, half in zip(self.trunks, self.halves, strict=True):
            x = trunk(x)
            for r in half:
                x = functional.leaky_relu(functional.pixel_shuffle(self.up[str(r)](x), 2), 0.2)
                y = functional.leaky_relu(self.conv_hr(x), 0.2) if r == 128 else x
                images[r] = self.rgb[str(r)](y)
        return images


def generator_from(params: dict, **config) -> MSGANGenerator:
    """The PyTorch generator with the parameters of a `jfsr.models.msgan.MSGANGenerator`."""
    net = MSGANGenerator(**config)
    copy_conv(net.conv_first, params["trunk1"]["conv_first"])
    copy_conv(net.conv_hr, params["conv_hr"])
    for i, trunk in enumerate(net.trunks, 1):
        copy_blocks(trunk.blocks, params[f"trunk{i}"]["blocks"])
        copy_conv(trunk.conv, params[f"trunk{i}"]["conv_trunk"])
    for r in net.up:
        copy_conv(net.up[r], params[f"up_{r}"])
        copy_conv(net.rgb[r], params[f"rgb_{r}"])
    return net
