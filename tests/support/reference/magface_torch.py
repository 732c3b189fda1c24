"""MagFace's iResNet-100 written once more, in PyTorch, as an independent reference: keys without the file's prefix."""

from __future__ import annotations

from torch import nn


def norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=2e-5, momentum=0.9)


def conv(c_in: int, c_out: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, side, stride, side // 2, bias=False)


class Block(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int):
        super().__init__()
        self.bn1, self.conv1 = norm(c_in), conv(c_in, width)
        self.bn2, self.prelu = norm(width), nn.PReLU(width)
        self.conv2, self.bn3 = conv(width, width, stride=stride), norm(width)
        self.downsample = nn.Sequential(conv(c_in, width, 1, stride), norm(width)) if stride > 1 else nn.Identity()

    def forward(self, x):
        return self.downsample(x) + self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))


class IResNet100(nn.Module):
    """BGR in [0, 1] at 112×112, NCHW -> embeddings [b, 512]."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.prelu = conv(3, 64), norm(64), nn.PReLU(64)
        c_in = 64
        for layer, (width, count) in enumerate([(64, 3), (128, 13), (256, 30), (512, 3)], 1):
            rest = [Block(width, width, 1) for _ in range(count - 1)]
            setattr(self, f"layer{layer}", nn.Sequential(Block(c_in, width, 2), *rest))
            c_in = width
        self.bn2, self.fc = norm(512), nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512, eps=2e-5, momentum=0.9)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        return self.features(self.fc(x.flatten(1)))
