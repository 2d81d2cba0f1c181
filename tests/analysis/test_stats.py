"""Statistics against scipy, hand-computed values, and what they must be under no association."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analysis import stats


def test_tau_and_p_are_scipys_for_rows_with_ties_and_missing_entries() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 4, (200, 6)).astype(float), rng.integers(0, 5, (200, 6)).astype(float)
    first[rng.random(first.shape) < 0.15] = np.nan
    found = stats.tau_b(first, second), stats.tau_b_p(first, second)
    for row in range(len(first)):
        there = ~np.isnan(first[row])
        expected = scipy_stats.kendalltau(first[row][there], second[row][there])
        np.testing.assert_array_equal([found[0][row], found[1][row]], tuple(expected))


@pytest.mark.parametrize("m", [2, 7, 100])
def test_rank_correlations_of_rows_are_scipys_to_the_last_digit(m: int) -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 60, m)).round(1)
    second[rng.random(second.shape) < 0.1] = np.nan
    second[0], first[1] = np.nan, 3.0
    tau, rho = stats.tau_b(first, second), stats.spearman(first, second)
    for row in range(2, len(first)):
        there = ~np.isnan(second[row])
        pair = first[row][there], second[row][there]
        if there.sum() > 1 and np.ptp(pair[0]) and np.ptp(pair[1]):
            expected = scipy_stats.kendalltau(*pair)[0], scipy_stats.spearmanr(*pair)[0]
            assert (tau[row], rho[row]) == expected
    assert np.isnan([tau[:2], rho[:2]]).all()


def test_tau_of_long_rows_is_the_same_by_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    first, second = rng.normal(size=(2, 12, 60)).round(1)
    second[rng.random(second.shape) < 0.1] = np.nan
    second[0], first[1], first[2, 1:] = np.nan, 3.0, np.nan
    counted = stats.tau_b(first, second)
    monkeypatch.setattr(stats, "LONG", 59)
    np.testing.assert_array_equal(stats.tau_b(first, second), counted)
    assert np.isnan(counted[:3]).all()
    assert not np.isnan(counted[3:]).any()


def test_tau_of_all_architectures_of_nasbench201_takes_no_square_of_their_number() -> None:
    values = np.random.default_rng(7).normal(size=(2, 15_625))
    assert stats.tau_b(values[:1], values[1:])[0] == scipy_stats.kendalltau(*values)[0]
    assert stats.tau_b(values[:1], np.where(values[1:] > 2, np.nan, values[:1])).tolist() == [1.0]


def test_tau_counts_pairs_by_hand() -> None:
    # 1 2 3 4 against 1 3 2 4: of six pairs one is discordant.
    assert stats.tau_b(np.array([[1.0, 2, 3, 4]]), np.array([[1.0, 3, 2, 4]]))[0] == pytest.approx(4 / 6)


def test_a_constant_side_or_a_single_point_has_no_tau() -> None:
    first = np.array([[1.0, 1, 1], [1, 2, 3], [1, np.nan, np.nan]])
    second = np.array([[1.0, 2, 3], [5, 5, 5], [1, 2, 3]])
    assert np.isnan(stats.tau_b(first, second)).all()
    assert np.isnan(stats.tau_b_p(first, second)).all()
    assert np.isnan(stats.spearman(first, second)).all()


@pytest.mark.parametrize(("n", "expected"), [(5, 0.408), (8, 0.289)])
def test_permuted_scores_give_taus_around_zero_with_the_deviation_of_the_formula(n: int, expected: float) -> None:
    rng = np.random.default_rng(1)
    accuracy = np.tile(np.arange(n, dtype=float), (20000, 1))
    tau = stats.tau_b(rng.permuted(accuracy, axis=1), accuracy)
    assert tau.mean() == pytest.approx(0, abs=0.01)
    assert tau.std() == pytest.approx(expected, abs=0.01)
    assert stats.tau_deviation(n) == pytest.approx(expected, abs=5e-4)


def test_p_of_a_mean_tau_is_uniform_without_association() -> None:
    rng = np.random.default_rng(2)
    accuracy = np.tile(np.arange(5.0), (18, 1))
    p = [stats.mean_tau_p(stats.tau_b(rng.permuted(accuracy, axis=1), accuracy), np.full(18, 5)) for _ in range(800)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.025)
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)


def test_summary_by_hand() -> None:
    found = stats.summarize(np.array([1.0, 2.0, 6.0, np.nan]))
    assert (found.n, found.mean) == (3, 3.0)
    assert found.sd == pytest.approx(math.sqrt(7))
    # Three seeds: the extremes of the bootstrap are all-first and all-last, each of probability 1/27 > 2.5 %.
    assert (found.low, found.high) == (1.0, 6.0)


def test_interval_agrees_with_the_exact_bootstrap_distribution() -> None:
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    grids = np.stack(np.meshgrid(*[values] * 5, indexing="ij"), axis=-1).reshape(-1, 5)
    exact = np.quantile(grids.mean(axis=1), [0.025, 0.975])
    assert stats.bootstrap_interval(values) == pytest.approx(tuple(exact), abs=0.3)


def test_interval_and_p_agree_with_scipys_own() -> None:
    values = np.random.default_rng(4).normal(1, 2, 30)
    interval = scipy_stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0))
    assert stats.bootstrap_interval(values) == pytest.approx(tuple(interval.confidence_interval), abs=0.05)
    for n in (6, 30):
        test = scipy_stats.permutation_test(
            (values[:n],), np.mean, permutation_type="samples", vectorized=True, rng=np.random.default_rng(0)
        )
        assert stats.paired(values[:n], np.zeros(n)).p == pytest.approx(test.pvalue, abs=0.01)


def test_one_value_has_a_mean_but_neither_deviation_nor_interval() -> None:
    found = stats.summarize(np.array([5.0]))
    assert (found.n, found.mean) == (1, 5.0)
    assert np.isnan([found.sd, found.low, found.high]).all()


def test_equal_values_have_an_interval_of_width_zero() -> None:
    found = stats.summarize(np.array([54.3, 54.3, 54.3]))
    assert (found.low, found.high) == (54.3, 54.3)
    assert found.sd == pytest.approx(0.0, abs=1e-12)


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .04 times 3 2 1 = .03 .04 .04, made monotone; NaN is no test.
    found = stats.holm(np.array([0.04, 0.01, np.nan, 0.02]))
    np.testing.assert_allclose(found, [0.04, 0.03, np.nan, 0.04])


def test_holm_never_exceeds_one_and_is_monotone_in_p() -> None:
    p = np.random.default_rng(3).random(40)
    adjusted = stats.holm(p)
    assert adjusted.max() <= 1
    assert (adjusted >= p).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()


def test_paired_p_is_the_share_of_sign_flips_by_hand() -> None:
    # Differences 1 2 3: only +++ and --- of the eight sign patterns are as extreme.
    found = stats.paired(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert found.p == pytest.approx(0.25)
    assert found.smallest_p == 0.25
    assert found.difference.mean == 2.0


def test_paired_leaves_out_seeds_that_one_side_lacks() -> None:
    found = stats.paired(np.array([2.0, np.nan, 6.0]), np.array([1.0, 2.0, np.nan]))
    assert found.difference.n == 1
    assert math.isnan(found.p)


def test_wilson_interval_of_none_in_three() -> None:
    low, high = stats.proportion_interval(0, 3)
    z2 = scipy_stats.norm.ppf(0.975) ** 2
    assert (low, high) == pytest.approx((0, z2 / (3 + z2)))


def test_the_interval_of_a_proportion_is_scipys() -> None:
    for count, n in [(0, 1), (1, 1), (1, 3), (5, 7), (40, 142), (142, 142)]:
        expected = scipy_stats.binomtest(count, n).proportion_ci(0.95, method="wilson")
        assert stats.proportion_interval(count, n) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_the_p_of_a_mean_tau_is_the_normal_distributions() -> None:
    taus, points = np.array([0.1, 0.6, np.nan, 0.2]), np.array([5, 5, 5, 8])
    deviation = np.sqrt(2 * stats.tau_deviation(5) ** 2 + stats.tau_deviation(8) ** 2) / 3
    assert stats.mean_tau_p(taus, points) == pytest.approx(2 * scipy_stats.norm.sf(0.3 / deviation), rel=1e-12)
