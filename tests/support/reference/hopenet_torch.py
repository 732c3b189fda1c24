"""Hopenet written once more, in PyTorch, as an independent reference: state-dict keys of the published files."""

from __future__ import annotations

import torch
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or c_in != 4 * width:
            conv = nn.Conv2d(c_in, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn3(self.conv3(self.bn2(self.conv2(y)).relu()))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class Hopenet(nn.Module):
    """Normalised 224×224 images, NCHW -> (features [b, 2048], logits [b, 3, 66] of yaw, pitch, roll)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.maxpool, self.avgpool = nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(7)
        c_in = 64
        for layer, (width, count, stride) in enumerate([(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)], 1):
            rest = [Bottleneck(4 * width, width, 1) for _ in range(count - 1)]
            setattr(self, f"layer{layer}", nn.Sequential(Bottleneck(c_in, width, stride), *rest))
            c_in = 4 * width
        self.fc_yaw, self.fc_pitch, self.fc_roll = (nn.Linear(2048, 66) for _ in range(3))
        self.fc_finetune = nn.Linear(2051, 3)  # published, never used

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        f = self.avgpool(self.layer4(self.layer3(self.layer2(self.layer1(x))))).flatten(1)
        return f, torch.stack([self.fc_yaw(f), self.fc_pitch(f), self.fc_roll(f)], 1)
