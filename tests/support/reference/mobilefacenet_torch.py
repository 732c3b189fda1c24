"""MobileFaceNet written once more, in PyTorch, as an independent reference: state-dict keys of the published file."""

from __future__ import annotations

from torch import nn


def unit(c_in: int, c_out: int, side: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU6())


class Separable(nn.Module):
    def __init__(self):
        super().__init__()
        self.depthwise = nn.Conv2d(64, 64, 3, padding=1, groups=64, bias=False)
        self.pointwise = nn.Conv2d(64, 64, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(64), nn.BatchNorm2d(64)

    def forward(self, x):
        return self.bn2(self.pointwise(self.bn1(self.depthwise(x)).relu())).relu()


class Inverted(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int):
        super().__init__()
        wide, self.skip = expansion * c_in, stride == 1 and c_in == c_out
        last = nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
        self.conv = nn.Sequential(unit(c_in, wide, 1), unit(wide, wide, 3, stride, wide), *last)

    def forward(self, x):
        return x + self.conv(x) if self.skip else self.conv(x)


class GlobalDepthwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.depthwise, self.bn = nn.Conv2d(512, 512, 7, groups=512, bias=False), nn.BatchNorm2d(512)

    def forward(self, x):
        return self.bn(self.depthwise(x))


class MobileFaceNet(nn.Module):
    """Normalised 112×112 images, NCHW -> embeddings [b, 128]."""

    def __init__(self):
        super().__init__()
        plan = [(64, 64, 2, 2)] + [(64, 64, 1, 2)] * 4 + [(64, 128, 2, 4)] + [(128, 128, 1, 2)] * 6
        plan += [(128, 128, 2, 4)] + [(128, 128, 1, 2)] * 2
        self.conv1, self.dw_conv = unit(3, 64, stride=2), Separable()
        self.features = nn.Sequential(*(Inverted(*block) for block in plan))
        self.conv2, self.gdconv = unit(128, 512, 1), GlobalDepthwise()
        self.conv3, self.bn = nn.Conv2d(512, 128, 1), nn.BatchNorm2d(128)

    def forward(self, x):
        return self.bn(self.conv3(self.gdconv(self.conv2(self.features(self.dw_conv(self.conv1(x))))))).flatten(1)
