"""LPIPS v0.1 and VGG-19 written once more, in PyTorch, as independent references: keys of the published files."""

from __future__ import annotations

import torch
from torch import nn

TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}  # the ReLUs whose output is compared
# A number is a 3×3 convolution's width, M a 2×2 pooling.
VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
VGG19 = (64, 64, "M", 128, 128, "M", *[256] * 4, "M", *[512] * 4, "M", *[512] * 4, "M")


def vgg(plan) -> nn.Sequential:
    layers, c = [], 3
    for width in plan:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(c, width, 3, padding=1), nn.ReLU()]
            c = width
    return nn.Sequential(*layers)


def alexnet() -> nn.Sequential:
    first = nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)
    second = nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)
    rest = [(192, 384), (384, 256), (256, 256)]
    thirds = [layer for c, d in rest for layer in (nn.Conv2d(c, d, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*first, *second, *thirds, nn.MaxPool2d(3, 2))


def enliven(net: nn.Module) -> None:
    """Random parameters under which the activations neither die nor explode."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.uniform_(module.bias, -0.2, 0.3)


class Backbone(nn.Module):
    """With torchvision's keys: ``features.N`` and a classifier, here a small one, that nobody uses."""

    def __init__(self, features: nn.Sequential):
        super().__init__()
        self.features = features
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        enliven(self)

    def taps(self, x, places: tuple[int, ...]) -> list[torch.Tensor]:
        out = []
        for i, layer in enumerate(self.features[: places[-1] + 1]):
            x = layer(x)
            if i in places:
                out.append(x)
        return out


def backbone(name: str) -> Backbone:
    """'alex', 'vgg' (-16) or 'vgg19'."""
    return Backbone({"alex": alexnet, "vgg": lambda: vgg(VGG16), "vgg19": lambda: vgg(VGG19)}[name]())


class Linear(nn.Module):
    """One tap's weights of the channels, not negative."""

    def __init__(self, channels: int):
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))
        nn.init.uniform_(self.model[1].weight, 0.0, 1.0)

    def forward(self, x):
        return self.model(x)


class Weights(nn.Module):
    """With the keys of the authors' file: ``lin{0..4}.model.1.weight``."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        for i, c in enumerate(channels):
            setattr(self, f"lin{i}", Linear(c))


def weights(name: str) -> Weights:
    """For 'alex' or 'vgg'."""
    return Weights({"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}[name]).eval()


def distance(name: str, net: Backbone, linear: Weights, a, b) -> torch.Tensor:
    """LPIPS [b] of RGB images in [0, 1], NCHW."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=a.dtype).reshape(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=a.dtype).reshape(3, 1, 1)
    total = 0.0
    pairs = zip(*(net.taps(((2 * x - 1) - shift) / scale, TAPS[name]) for x in (a, b)), strict=True)
    for i, (f, g) in enumerate(pairs):
        f, g = (t / (t.square().sum(1, keepdim=True).sqrt() + 1e-10) for t in (f, g))
        total = total + getattr(linear, f"lin{i}")((f - g).square()).mean((1, 2, 3))
    return total
