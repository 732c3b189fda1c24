"""FaceNet written once more, in PyTorch, as an independent reference: state-dict keys of the published files."""

from __future__ import annotations

import torch
from torch import nn


class Unit(nn.Module):
    def __init__(self, c_in: int, c_out: int, kernel, stride: int = 1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=1e-3)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


class Residual(nn.Module):
    """Block35 (``c`` 256), Block17 (896) and Block8 (1792) by their branches."""

    def __init__(self, scale: float, c: int, branches: list[nn.Module], width: int, relu: bool = True):
        super().__init__()
        self.scale, self.relu, self.count = scale, relu, len(branches)
        for i, branch in enumerate(branches):
            setattr(self, f"branch{i}", branch)
        self.conv2d = nn.Conv2d(width, c, 1)

    def forward(self, x):
        ends = [getattr(self, f"branch{i}")(x) for i in range(self.count)]
        y = x + self.scale * self.conv2d(torch.cat(ends, 1))
        return y.relu() if self.relu else y


class Reduction(nn.Module):
    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.count, self.pool = len(branches), nn.MaxPool2d(3, 2)
        for i, branch in enumerate(branches):
            setattr(self, f"branch{i}", branch)

    def forward(self, x):
        return torch.cat([*(getattr(self, f"branch{i}")(x) for i in range(self.count)), self.pool(x)], 1)


def block35() -> Residual:
    two = nn.Sequential(Unit(256, 32, 1), Unit(32, 32, 3, padding=1))
    three = nn.Sequential(Unit(256, 32, 1), Unit(32, 32, 3, padding=1), Unit(32, 32, 3, padding=1))
    return Residual(0.17, 256, [Unit(256, 32, 1), two, three], 96)


def block17() -> Residual:
    cross = [Unit(128, 128, (1, 7), padding=(0, 3)), Unit(128, 128, (7, 1), padding=(3, 0))]
    return Residual(0.10, 896, [Unit(896, 128, 1), nn.Sequential(Unit(896, 128, 1), *cross)], 256)


def block8(scale: float = 0.20, relu: bool = True) -> Residual:
    cross = [Unit(192, 192, (1, 3), padding=(0, 1)), Unit(192, 192, (3, 1), padding=(1, 0))]
    return Residual(scale, 1792, [Unit(1792, 192, 1), nn.Sequential(Unit(1792, 192, 1), *cross)], 384, relu)


class FaceNet(nn.Module):
    """(255·x − 127.5)/128 at 160×160, NCHW -> embeddings [b, 512]; ``people`` is the width of the unused classifier."""

    def __init__(self, people: int):
        super().__init__()
        self.conv2d_1a, self.conv2d_2a = Unit(3, 32, 3, 2), Unit(32, 32, 3)
        self.conv2d_2b, self.maxpool = Unit(32, 64, 3, padding=1), nn.MaxPool2d(3, 2)
        self.conv2d_3b, self.conv2d_4a, self.conv2d_4b = Unit(64, 80, 1), Unit(80, 192, 3), Unit(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(block35() for _ in range(5)))
        self.mixed_6a = Reduction(
            Unit(256, 384, 3, 2), nn.Sequential(Unit(256, 192, 1), Unit(192, 192, 3, padding=1), Unit(192, 256, 3, 2))
        )
        self.repeat_2 = nn.Sequential(*(block17() for _ in range(10)))
        self.mixed_7a = Reduction(
            nn.Sequential(Unit(896, 256, 1), Unit(256, 384, 3, 2)),
            nn.Sequential(Unit(896, 256, 1), Unit(256, 256, 3, 2)),
            nn.Sequential(Unit(896, 256, 1), Unit(256, 256, 3, padding=1), Unit(256, 256, 3, 2)),
        )
        self.repeat_3 = nn.Sequential(*(block8() for _ in range(5)))
        self.block8 = block8(1.0, relu=False)
        self.last_linear, self.last_bn = nn.Linear(1792, 512, bias=False), nn.BatchNorm1d(512, eps=1e-3)
        self.logits = nn.Linear(512, people)

    def forward(self, x):
        x = self.maxpool(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x))))
        x = self.repeat_1(self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(x))))
        x = self.block8(self.repeat_3(self.mixed_7a(self.repeat_2(self.mixed_6a(x)))))
        return nn.functional.normalize(self.last_bn(self.last_linear(x.mean((2, 3)))), dim=1)
