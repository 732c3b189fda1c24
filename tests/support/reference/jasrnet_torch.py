"""JASRNet written once more, in PyTorch and by its graph alone, as an independent reference; takes our parameters."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def forward(params, large, *, fusion="add", long_skip=True):
    """(sr, heatmaps of every stage) of an enlarged image, both NCHW."""

    def convolve(x, leaf, stride=1):
        kernel = torch.tensor(np.asarray(leaf["kernel"])).permute(3, 2, 0, 1)
        return functional.conv2d(x, kernel, torch.tensor(np.asarray(leaf["bias"])), stride, padding=1)

    def conv(x, name, stride=1):
        return convolve(x, params[name], stride)

    def blocks(x, name, *, scale=1.0, relu=True):
        leaves = params[name]
        for i in range(len(leaves["conv1"]["bias"])):
            one, two = ({k: v[i] for k, v in leaves[c].items()} for c in ("conv1", "conv2"))
            x = x + scale * convolve(torch.relu(convolve(x, one)), two)
            x = torch.relu(x) if relu else x
        return x

    pool = lambda x: functional.max_pool2d(x, 2, 2)
    join = (lambda a, b: a + b) if fusion == "add" else (lambda a, b: torch.cat([a, b], 1))
    head = conv((large - MEAN) / STD, "head")
    a = blocks(head, "encoder_a")
    b = blocks(pool(a), "encoder_b")
    c = blocks(pool(b), "encoder_c")
    deep = blocks(blocks(pool(c), "encoder_d"), "features")
    if fusion == "none":
        h = deep
    else:
        h = join(conv(a, "fuse_1", 2), b)
        h = join(conv(h, "fuse_2", 2), c)
        h = join(conv(h, "fuse_3", 2), deep)
        h = conv(h, "fuse_4") if fusion == "concat" else h

    x = conv(blocks(h, "sr_blocks", scale=0.1, relu=False), "sr_conv")
    if long_skip:
        for i in (1, 2, 3):
            head = pool(conv(head, f"long_{i}"))
        x = x + head
    for i in (1, 2, 3):
        x = functional.pixel_shuffle(conv(x, f"up_{i}"), 2)
    sr = conv(x, "sr_last") * STD + MEAN

    x = conv(blocks(h, "align_blocks"), "align_conv")
    maps = [conv(blocks(x, "stage1_blocks"), "stage1_last")]
    stage = 2
    while f"stage{stage}_first" in params:
        y = torch.relu(conv(torch.cat([x, maps[-1]], 1), f"stage{stage}_first"))
        maps.append(conv(blocks(y, f"stage{stage}_blocks"), f"stage{stage}_last"))
        stage += 1
    return sr, torch.stack(maps)
