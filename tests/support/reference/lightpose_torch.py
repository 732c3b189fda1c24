"""LightPose written once more, in PyTorch, as an independent reference: state-dict keys of the published file."""

from __future__ import annotations

import torch
from torch import nn


def unit(c_in: int, c_out: int, side: int, act: type[nn.Module], stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, side, stride, side // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), act())


class Block(nn.Module):
    def __init__(self, c_in: int, c_out: int, side: int, stride: int, act: type[nn.Module]):
        super().__init__()
        wide = 2 * c_in
        self.exp_conv = unit(c_in, wide, 1, act, groups=4)
        self.dw_conv = unit(wide, wide, side, act, stride, groups=wide)
        self.pw_conv = unit(wide, c_out, 1, act)

    def forward(self, x):
        return self.pw_conv(self.dw_conv(self.exp_conv(x)))


class LightPose(nn.Module):
    """Normalised 224×224 images, NCHW -> (features [b, 128], logits [b, 3, 66] of yaw, pitch, roll)."""

    def __init__(self):
        super().__init__()
        relu, swish = nn.ReLU, nn.Hardswish
        self.features = nn.Sequential(
            unit(3, 16, 3, relu, 2),
            Block(16, 32, 3, 2, relu),
            Block(32, 64, 3, 2, relu),
            Block(64, 96, 3, 1, relu),
            Block(96, 96, 5, 2, swish),
            Block(96, 128, 5, 1, swish),
            Block(128, 128, 5, 2, swish),
            Block(128, 128, 3, 1, swish),
            nn.AdaptiveAvgPool2d(1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.fc_yaw, self.fc_pitch, self.fc_roll = (nn.Linear(128, 66) for _ in range(3))

    def forward(self, x):
        f = self.features(x)
        return f, torch.stack([self.fc_yaw(f), self.fc_pitch(f), self.fc_roll(f)], 1)
