from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, strategies as st
from logitlab import gumbel, uniform
from logitlab.draw import philox

# Eight tests below, each at this level: one false alarm in 125 000 sets of seeds.
FALSE_ALARM = 1e-6

ALL_ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # known answers of the Random123 distribution, philox4x32-10
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (ALL_ONES,) * 4,
            (ALL_ONES,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], words: tuple[int, ...]
) -> None:
    assert philox(counter, key) == words
    a, b, c, d = (np.full(3, word, np.uint64) for word in counter)
    assert [set(word.tolist()) for word in philox((a, b, c, d), key)] == [{w} for w in words]


@given(st.integers(), st.integers(0, 2**63 - 1), st.integers(0, 2**32 - 1))
def test_one_at_a_time_equals_many_at_once(seed: int, sequence: int, position: int) -> None:
    several = [0, sequence, 5]
    assert uniform(seed, several, position)[1] == uniform(seed, sequence, position)
    assert gumbel(seed, [3, 9], several[1], [position])[1] == gumbel(seed, 9, sequence, position)


@pytest.mark.parametrize("along", ["sequence", "position", "seed"])
def test_uniforms_are_uniform_and_uncorrelated(along: str) -> None:
    numbers = np.arange(100_000)
    if along == "seed":
        u = np.array([float(uniform(seed)) for seed in range(20_000)])
    elif along == "sequence":
        u = uniform(1, sequence=numbers)
    else:
        u = uniform(1, position=numbers)
    assert u.min() >= 0
    assert u.max() < 1
    assert scipy.stats.kstest(u, "uniform").pvalue > FALSE_ALARM
    assert scipy.stats.pearsonr(u[:-1], u[1:]).pvalue > FALSE_ALARM


def test_gumbel_noise_is_standard_gumbel() -> None:
    noise = gumbel(1, np.arange(100_000))
    assert scipy.stats.kstest(noise, "gumbel_r").pvalue > FALSE_ALARM
    assert np.isfinite(gumbel(2, np.arange(10**6))).all()


def test_sequences_and_positions_do_not_mirror_each_other() -> None:
    grid = uniform(5, np.arange(300)[:, None], np.arange(300)[None, :])
    off = ~np.eye(300, dtype=bool)
    assert len(np.unique(grid)) == grid.size
    assert scipy.stats.pearsonr(grid[off], grid.T[off]).pvalue > FALSE_ALARM


def test_the_stream_is_fixed_for_good() -> None:
    # A change of these numbers breaks every recorded seed.
    assert float(uniform(7)) == 0.9447383441388699
    assert uniform(7, [0, 1], 3).tolist() == [0.2793206449389326, 0.7577662744498852]
    assert float(uniform(-(2**70), 2**40, 2**31)) == 0.9069484637160625
    assert [float(uniform(7, coin=c)) for c in (0, 1)] == [0.8037168586946389, 0.5649618842650814]
    assert float(uniform(-(2**70), 2**40, 2**31, coin=3)) == 0.3551605891724833
    assert gumbel(7, [0, 49151]).tolist() == [2.3438557508824176, 2.05527417501803]
