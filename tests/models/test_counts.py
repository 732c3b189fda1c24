"""Parameter counts of every network, in one table that must be complete."""

from __future__ import annotations

import importlib
import math
import pkgutil

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from support.networks import KEY

import jfsr.models
from jfsr.models import layers
from jfsr.models.hourglass import Hourglass, ResidualUnit, StackedHourglasses
from jfsr.models.iafsr import Discriminator, PReLU, SRResNet
from jfsr.models.jasrnet import JASRNet, ResBlock
from jfsr.models.msgan import FeatureDiscriminator, MSGANGenerator, PatchDiscriminator
from jfsr.models.mtun import MTUNDiscriminator, MTUNGenerator
from jfsr.models.rrdb import RRDB, ResidualDenseBlock, RRDBNet, RRDBTrunk
from jfsr.models.stn import SimilaritySTN

# name -> (module, shape of its input, trainable parameters). Every public module in jfsr/models has at least one row.
COUNTS = {
    "layers.BatchNorm": (layers.BatchNorm(), (2, 5), 10),
    "layers.Deconv": (layers.Deconv(6), (1, 8, 8, 5), 4 * 4 * 5 * 6 + 6),
    "rrdb.ResidualDenseBlock": (ResidualDenseBlock(), (1, 8, 8, 64), 239_808),
    "rrdb.RRDB": (RRDB(), (1, 8, 8, 64), 719_424),
    "rrdb.RRDBTrunk": (RRDBTrunk(), (1, 8, 8, 64), 16_583_680),
    "rrdb.RRDBNet": (RRDBNet(), (1, 8, 8, 3), 16_697_987),
    "msgan.MSGANGenerator": (MSGANGenerator(), (1, 8, 8, 3), 33_803_852),
    "msgan.MSGANGenerator x8": (MSGANGenerator(scale=8), (1, 16, 16, 3), 33_654_409),
    "msgan.MSGANGenerator x4": (MSGANGenerator(scale=4), (1, 32, 32, 3), 33_504_966),
    "msgan.MSGANGenerator tapered": (
        MSGANGenerator(scale=8, blocks=(4, 2), widths=(48, 24, 12)),
        (1, 16, 16, 3),
        3_913_121,
    ),
    "msgan.PatchDiscriminator": (PatchDiscriminator(), (1, 128, 128, 3), 2_765_633),
    "msgan.PatchDiscriminator 16": (PatchDiscriminator(size=16), (1, 16, 16, 3), 2_765_633),
    "msgan.FeatureDiscriminator": (FeatureDiscriminator(), (2, 2048), 591_105),
    "hourglass.ResidualUnit": (ResidualUnit(64), (1, 8, 8, 32), 13_568),
    "hourglass.Hourglass": (Hourglass(4), (1, 64, 64, 64), 536_640),
    "hourglass.StackedHourglasses": (StackedHourglasses(), (1, 64, 64, 32), 2_356_624),
    "stn.SimilaritySTN": (SimilaritySTN(), (1, 16, 16, 64), 43_744),
    "mtun.MTUNGenerator": (MTUNGenerator(), (1, 16, 16, 3), 2_846_003),
    "mtun.MTUNGenerator r16": (MTUNGenerator(heb_at=16, stn_at=16), (1, 16, 16, 3), 1_911_827),
    "mtun.MTUNGenerator r32": (MTUNGenerator(heb_at=32), (1, 16, 16, 3), 2_407_187),
    "mtun.MTUNGenerator s1": (MTUNGenerator(stacks=1), (1, 16, 16, 3), 1_085_351),
    "mtun.MTUNGenerator without heatmaps": (MTUNGenerator(heb_at=0), (1, 16, 16, 3), 478_979),
    "mtun.MTUNGenerator without autoencoder": (MTUNGenerator(autoencoder=False), (1, 16, 16, 3), 2_519_411),
    "mtun.MTUNGenerator without skip": (MTUNGenerator(skip_connection="none"), (1, 16, 16, 3), 2_846_003),
    "mtun.MTUNGenerator of 1.x": (MTUNGenerator(stn_at=16, skip_connection="autoencoder"), (1, 16, 16, 3), 2_837_651),
    "mtun.MTUNDiscriminator": (MTUNDiscriminator(), (1, 128, 128, 3), 2_790_209),
    "iafsr.PReLU": (PReLU(), (2, 5), 5),
    "iafsr.SRResNet": (SRResNet(), (1, 16, 16, 3), 955_843),
    "iafsr.Discriminator": (Discriminator(), (1, 128, 128, 3), 38_243_713),
    "jasrnet.ResBlock": (ResBlock(), (1, 16, 16, 128), 295_168),
    "jasrnet.JASRNet": (JASRNet(), (1, 16, 16, 3), 19_885_778),
    "jasrnet.JASRNet concat": (JASRNet(fusion="concat"), (1, 16, 16, 3), 20_475_730),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    module, shape, expected = COUNTS[name]
    variables = jax.eval_shape(module.init, KEY, jnp.zeros(shape))
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(variables["params"])) == expected
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_every_public_module_has_a_count():
    public = set()
    for info in pkgutil.iter_modules(jfsr.models.__path__):
        file = importlib.import_module(f"jfsr.models.{info.name}")
        public |= {
            f"{info.name}.{name}"
            for name, value in vars(file).items()
            if isinstance(value, type)
            and issubclass(value, nn.Module)
            and value.__module__ == file.__name__
            and not name.startswith("_")
        }
    missing = public - {name.split()[0] for name in COUNTS}
    assert not missing, f"add rows to COUNTS in tests/models/test_counts.py for {sorted(missing)}"
