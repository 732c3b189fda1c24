"""LightCNN-9, -29 and -29v2 written once more, in PyTorch, as an independent reference: keys of the published files."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class MFM(nn.Module):
    """A layer of twice the width, of whose halves the larger passes."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.filter = layer

    def forward(self, x):
        y = self.filter(x)
        return y.reshape(len(y), 2, -1, *y.shape[2:]).amax(1)


def conv(c_in: int, c_out: int, side: int) -> MFM:
    return MFM(nn.Conv2d(c_in, 2 * c_out, side, padding=side // 2))


class Pair(nn.Module):
    """Two convolutions, one after the other, under the names that the file has for them."""

    def __init__(self, names: tuple[str, str], first: MFM, second: MFM, *, residual: bool = False):
        super().__init__()
        self.names, self.residual = names, residual
        for name, layer in zip(names, (first, second), strict=True):
            setattr(self, name, layer)

    def forward(self, x):
        y = getattr(self, self.names[1])(getattr(self, self.names[0])(x))
        return x + y if self.residual else y


def group(c_in: int, c_out: int) -> Pair:
    return Pair(("conv_a", "conv"), conv(c_in, c_in, 1), conv(c_in, c_out, 3))


def block(c: int) -> Pair:
    return Pair(("conv1", "conv2"), conv(c, c, 3), conv(c, c, 3), residual=True)


class LightCNN9(nn.Module):
    """Grey 128×128 images in [0, 1], NCHW -> features [b, 256]."""

    def __init__(self, classes: int):
        super().__init__()
        pool = lambda: nn.MaxPool2d(2, 2, ceil_mode=True)
        ends = group(192, 128), group(128, 128), pool()
        self.features = nn.Sequential(conv(1, 48, 5), pool(), group(48, 96), pool(), group(96, 192), pool(), *ends)
        self.fc1, self.fc2 = MFM(nn.Linear(8192, 512)), nn.Linear(256, classes)

    def forward(self, x):
        return self.fc1(self.features(x).flatten(1))


class LightCNN29(nn.Module):
    """Grey 128×128 images in [0, 1], NCHW -> features [b, 256]."""

    def __init__(self, classes: int, *, v2: bool = False):
        super().__init__()
        self.v2, widths = v2, (48, 96, 192, 128, 128)
        self.conv1 = conv(1, 48, 5)
        for i in (1, 2, 3, 4):
            setattr(self, f"block{i}", nn.Sequential(*(block(widths[i - 1]) for _ in range(i))))
            setattr(self, f"group{i}", group(widths[i - 1], widths[i]))
        self.fc = nn.Linear(8192, 256) if v2 else MFM(nn.Linear(8192, 512))
        self.fc2 = nn.Linear(256, classes, bias=not v2)

    def pool(self, x):
        if self.v2:
            return functional.max_pool2d(x, 2) + functional.avg_pool2d(x, 2)
        return functional.max_pool2d(x, 2, 2, ceil_mode=True)

    def forward(self, x):
        x = self.pool(self.conv1(x))
        x = self.pool(self.group1(self.block1(x)))
        x = self.pool(self.group2(self.block2(x)))
        x = self.group3(self.block3(x))
        x = self.pool(self.group4(self.block4(x)))
        return self.fc(x.flatten(1))


def network(name: str, classes: int) -> nn.Module:
    """By the zoo's name, with random parameters under which the activations neither die nor explode."""
    kinds = {"lightcnn9": LightCNN9, "lightcnn29": LightCNN29}
    net = LightCNN29(classes, v2=True) if name == "lightcnn29v2" else kinds[name](classes)
    for key, value in net.named_parameters():
        # The larger of two numbers has the square of each, so no gain is needed; the sum of a block needs less.
        gain = 0.3 if "block" in key else 1.0
        with torch.no_grad():
            value.uniform_(-0.2, 0.2) if value.ndim == 1 else value.normal_(0, gain / value[0].numel() ** 0.5)
    return net.eval()
