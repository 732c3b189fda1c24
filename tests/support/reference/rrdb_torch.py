"""ESRGAN's network written once more, in PyTorch, as an independent reference: state-dict keys of the official file."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class RDB(nn.Module):
    def __init__(self, features: int, growth: int):
        super().__init__()
        widths = [growth] * 4 + [features]
        for i, width in enumerate(widths):
            setattr(self, f"conv{i + 1}", nn.Conv2d(features + i * growth, width, 3, padding=1))

    def forward(self, x):
        dense = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            dense = torch.cat([dense, functional.leaky_relu(conv(dense), 0.2)], 1)
        return x + 0.2 * self.conv5(dense)


class RRDB(nn.Module):
    def __init__(self, features: int, growth: int):
        super().__init__()
        self.RDB1, self.RDB2, self.RDB3 = (RDB(features, growth) for _ in range(3))

    def forward(self, x):
        return x + 0.2 * self.RDB3(self.RDB2(self.RDB1(x)))


class RRDBNet(nn.Module):
    def __init__(self, blocks: int = 23, features: int = 64, growth: int = 32):
        super().__init__()
        self.conv_first = nn.Conv2d(3, features, 3, padding=1)
        self.RRDB_trunk = nn.Sequential(*(RRDB(features, growth) for _ in range(blocks)))
        for name in ("trunk_conv", "upconv1", "upconv2", "HRconv"):
            setattr(self, name, nn.Conv2d(features, features, 3, padding=1))
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, x):
        x = self.conv_first(x)
        x = x + self.trunk_conv(self.RRDB_trunk(x))
        for conv in (self.upconv1, self.upconv2):
            x = functional.leaky_relu(conv(functional.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(functional.leaky_relu(self.HRconv(x), 0.2))


def copy_conv(conv: nn.Conv2d, params: dict, index: int | None = None) -> None:
    """Writes a Linen convolution (of block ``index``, where stacked) into a PyTorch one: HWIO -> OIHW."""
    kernel, bias = (np.asarray(params[k] if index is None else params[k][index]) for k in ("kernel", "bias"))
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()))
        conv.bias.copy_(torch.from_numpy(bias.copy()))


def copy_blocks(blocks: nn.Sequential, params: dict) -> None:
    """Writes the stacked RRDBs of a Linen trunk into a sequence of PyTorch ones."""
    for i, block in enumerate(blocks):
        for j in (1, 2, 3):
            for k in range(1, 6):
                copy_conv(getattr(getattr(block, f"RDB{j}"), f"conv{k}"), params[f"rdb{j}"][f"conv{k}"], i)


def rrdbnet_from(params: dict, **sizes: int) -> RRDBNet:
    """The PyTorch network with the parameters of a `jfsr.models.rrdb.RRDBNet`."""
    net = RRDBNet(**sizes)
    trunk = params["trunk"]
    copy_blocks(net.RRDB_trunk, trunk["blocks"])
    pairs = [(net.conv_first, trunk["conv_first"]), (net.trunk_conv, trunk["conv_trunk"])]
    pairs += [(net.upconv1, params["conv_up1"]), (net.upconv2, params["conv_up2"])]
    pairs += [(net.HRconv, params["conv_hr"]), (net.conv_last, params["conv_last"])]
    for conv, source in pairs:
        copy_conv(conv, source)
    return net
