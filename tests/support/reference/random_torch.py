"""Random weights and BatchNorm statistics for a PyTorch reference: far from 0 and 1, in range through the depth."""

from __future__ import annotations

import torch
from torch import nn


def randomise(net: nn.Module, *, damped: tuple[str, ...] = ()) -> nn.Module:
    """Draws every parameter and every running statistic of ``net``, and puts it in evaluation mode.

    Args:
      net: a network of convolutions, linear layers, BatchNorms and PReLUs.
      damped: names of BatchNorms at the ends of residual branches, scaled down so that dozens of blocks do not explode.
    """
    torch.manual_seed(0)
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -0.2, 0.2)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.5)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.3, 1.5)
            if name.rsplit(".")[-1] in damped:
                module.weight.data *= 0.1
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.4)
    return net.eval().requires_grad_(False)
