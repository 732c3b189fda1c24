"""The face at a position: for many positions at once as for one, and from the same random numbers."""

import numpy as np
import pytest

from jfsr.data import mixture, records
from jfsr.data.crops import Cropped


class Blank:
    """Pictures without anything on them."""

    skipped = ()

    def __init__(self, name, count):
        self.name, self.count = name, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return records.new_record(np.zeros((16, 16, 3), np.uint8), f"{index}")

    def name_of(self, index):
        return f"{index}"

    def report(self):
        return ""


def mixed(counts, weights, **options):
    sources = {name: Cropped(Blank(name, n), rule="none", size=16) for name, n in counts.items()}
    options = {"seed": 5, "shuffle": True, "flip": 0.5, "jitter": 0.0} | options
    return mixture.Mixture(sources, weights, **options)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("counts", [{"a": 7}, {"a": 7, "b": 300, "c": 1}])
def test_many_positions_are_located_as_each_one_is(counts, shuffle):
    mix = mixed(counts, dict.fromkeys(counts, 1.0) | {"a": 0.3}, shuffle=shuffle)
    for first, count in ((0, 1), (0, 500), (119, 2), (1234, 321), (10**7, 130)):
        sources, indices = mix.locate_all(first, count)
        wanted = [mix.locate(position) for position in range(first, first + count)]
        np.testing.assert_array_equal(np.stack([sources, indices], -1), wanted)


@pytest.mark.parametrize("seed", [0, 3, 2**31 - 1])
def test_many_positions_draw_what_the_generator_of_each_draws(seed):
    mix = mixed({"a": 1}, {"a": 1.0}, seed=seed)
    for first, numbers in ((0, 1), (2**40, 5), (77, 8)):
        got = mix.draws(np.arange(first, first + 20), numbers=numbers)
        for row, position in zip(got, range(first, first + 20), strict=True):
            generator = np.random.Generator(np.random.Philox(key=np.array([seed, position], np.uint64)))
            np.testing.assert_array_equal(row, generator.uniform(size=numbers))
