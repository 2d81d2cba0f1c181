"""The statistics that every analysis reports: Kendall's tau-b, intervals over seeds, paired tests, Holm's correction.

Not called `statistics`: that is a module of Python itself. scipy.stats takes a second to import, so it is imported where
nothing smaller will do; most analyses do not need it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
import pandas as pd

LEVEL = 0.95
"""Confidence level of every interval."""
LONG = 2000
"""Entries from which on a row's tau is scipy's, whose time grows as n log n."""
RESAMPLES = 9999
"""Bootstrap resamples and Monte-Carlo permutations."""


@dataclass(frozen=True)
class Summary:
    """Mean over seeds with its spread; ``sd``, ``low`` and ``high`` are NaN where ``n`` does not allow them."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


def summarize(values: np.ndarray) -> Summary:
    """Return the mean of ``values`` (NaN left out), sample standard deviation and 95 % percentile bootstrap interval.

    One value has neither deviation nor interval. The interval resamples seeds; with fewer than about ten of them a
    percentile interval is narrower than its name says, so it is printed with n, always.
    """
    kept = np.asarray(values, dtype=float)
    kept = kept[~np.isnan(kept)]
    if kept.size < 2:
        return Summary(kept.size, float(kept.mean()) if kept.size else math.nan, math.nan, math.nan, math.nan)
    low, high = bootstrap_interval(kept)
    return Summary(kept.size, float(kept.mean()), float(kept.std(ddof=1)), low, high)


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of ``values``.

    ``scipy.stats.bootstrap(method="percentile")`` in one product: all intervals of one n share one fixed set of
    resamples, as a report has hundreds of them.
    """
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(_resamples(len(values)) @ np.asarray(values, dtype=float), [tail, 1 - tail])
    return float(low), float(high)


@lru_cache(maxsize=32)
def _resamples(n: int) -> np.ndarray:
    """Weights ``[RESAMPLES, n]`` of the bootstrap means of ``n`` values: how often each is drawn, over n."""
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def tau_b(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b for every row of two ``[rows, m]`` arrays, NaN entries left out.

    A row in which either side is constant (or has fewer than two entries) has no tau: NaN, never 0. The values are
    ``scipy.stats.kendalltau``'s own to the last digit, which takes one row at a time: pairs are counted at one distance in
    the row after the other, for all rows at once. Rows of more than :data:`LONG` entries are given to scipy.
    """
    first, second, known = _both(first, second)
    if first.shape[1] > LONG:
        return np.array([_long_tau(a[at], b[at]) for a, b, at in zip(first, second, known, strict=True)], dtype=float)
    agreeing, *untied = np.zeros((3, len(first)), dtype=np.int64)
    for distance in range(1, first.shape[1]):
        a, b = (_direction(side[:, distance:], side[:, :-distance]) for side in (first, second))
        for total, product in zip((agreeing, *untied), (a * b, a * a, b * b), strict=True):
            total += product.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a side is constant
        return np.clip(agreeing / np.sqrt(untied[0]) / np.sqrt(untied[1]), -1.0, 1.0)


def _long_tau(first: np.ndarray, second: np.ndarray) -> float:
    from scipy import stats as scipy_stats

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.asarray(scipy_stats.kendalltau(first, second, method="asymptotic"), dtype=float)[0])


def _both(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two arrays as floats, NaN where either is, and where both are known."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    known = ~(np.isnan(first) | np.isnan(second))
    return np.where(known, first, np.nan), np.where(known, second, np.nan), known


def _direction(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
    """1 where a value rises, -1 where it falls, 0 for a tie or an unknown value."""
    return (later > earlier).astype(np.int8) - (later < earlier).astype(np.int8)


def tau_b_p(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return scipy's two-sided p of :func:`tau_b` for every row; NaN where there is no tau.

    As it depends on ranks only, each distinct pattern of ranks is computed once.
    """
    first, second, _ = _both(first, second)
    ranks = [_ranks(side, "dense").fillna(-1).to_numpy(dtype=int) for side in (first, second)]
    order = np.lexsort((ranks[1], ranks[0]), axis=-1)
    pattern = np.concatenate([np.take_along_axis(side, order, axis=-1) for side in ranks], axis=-1)
    distinct, where = np.unique(pattern, axis=0, return_inverse=True)
    return np.array([_p_of_ranks(row) for row in distinct])[where.ravel()]


def _ranks(values: np.ndarray, method: Literal["average", "dense"]) -> pd.DataFrame:
    """Ranks along every row; NaN for NaN."""
    return pd.DataFrame(values).rank(axis=1, method=method)


def _p_of_ranks(pattern: np.ndarray) -> float:
    from scipy import stats as scipy_stats

    first, second = np.split(pattern, 2)
    first, second = first[first >= 0], second[second >= 0]
    if len(np.unique(first)) < 2 or len(np.unique(second)) < 2:
        return math.nan
    return float(np.asarray(scipy_stats.kendalltau(first, second), dtype=float)[1])


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Spearman's rho for every row of two ``[rows, m]`` arrays, NaN entries left out.

    NaN where either side is constant or has fewer than two entries. ``scipy.stats.spearmanr``'s own values to the last digit:
    sums of ranks are exact, and the divisions are in its order.
    """
    first, second, known = _both(first, second)
    n = known.sum(axis=1)
    x, y = (np.nan_to_num(_ranks(side, "average").to_numpy() - (n[:, None] + 1) / 2) for side in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where a side is constant
        covariance, *variances = ((a * b).sum(axis=1) * (1 / (n - 1)) for a, b in ((x, y), (x, x), (y, y)))
        return np.clip(covariance / np.sqrt(variances[1]) / np.sqrt(variances[0]), -1.0, 1.0)


def tau_deviation(n: int) -> float:
    """Return the standard deviation of tau of ``n`` untied points without association (0.408 for 5, 0.289 for 8)."""
    return math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))) if n > 1 else math.nan


def mean_tau_p(taus: np.ndarray, points: np.ndarray) -> float:
    """Return the two-sided p of the mean of independent ``taus``, each of so many ``points``, under no association.

    Normal approximation with the variance of untied points. Edges of one supernet share weights and are not fully
    independent, so this p is optimistic; it is there to tell a mean of 0.1 over 18 edges from one over 900.
    """
    kept = ~np.isnan(taus)
    if not kept.any():
        return math.nan
    deviation = math.sqrt(sum(tau_deviation(int(n)) ** 2 for n in points[kept])) / kept.sum()
    return math.erfc(abs(float(taus[kept].mean())) / deviation / math.sqrt(2))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p values (Holm 1979); NaN stays NaN and is not counted as a test."""
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return adjusted


@dataclass(frozen=True)
class Paired:
    """Difference of two methods on the seeds they share."""

    difference: Summary
    p: float
    """Two-sided p of the sign-flip permutation test of a mean difference of 0; NaN below two pairs."""
    smallest_p: float
    """The smallest p that so many pairs can give, 2 / 2**n."""


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare two arrays paired by position: mean of ``first - second``, its interval, and the sign-flip test's p.

    Exact up to 13 pairs, by ``RESAMPLES`` random sign patterns beyond; a NaN on either side drops the pair.
    """
    differences = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    differences = differences[~np.isnan(differences)]
    n = len(differences)
    if n < 2:
        return Paired(summarize(differences), math.nan, math.nan)
    signs = _signs(n)
    means = signs @ differences / n
    extreme = np.abs(means) >= abs(differences.mean()) * (1 - 1e-9)
    added = 0 if len(signs) == 2**n else 1
    return Paired(summarize(differences), float((extreme.sum() + added) / (len(signs) + added)), 2 / 2**n)


@lru_cache(maxsize=32)
def _signs(n: int) -> np.ndarray:
    """All ``2**n`` sign patterns if there are at most :data:`RESAMPLES`, else so many random ones; ``[pattern, n]``."""
    if 2**n <= RESAMPLES:
        return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return 1.0 - 2.0 * np.random.default_rng(0).integers(0, 2, (RESAMPLES, n))


def proportion_interval(count: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion (Newcombe 1998, method 3); NaN without a trial.

    ``scipy.stats.binomtest``'s own values.
    """
    if n == 0:
        return math.nan, math.nan
    z, p = NormalDist().inv_cdf(0.5 + 0.5 * LEVEL), count / n
    scale = 2 * (n + z**2)
    center, half = (2 * n * p + z**2) / scale, z / scale * math.sqrt(4 * n * p * (1 - p) + z**2)
    return 0.0 if count == 0 else center - half, 1.0 if count == n else center + half
