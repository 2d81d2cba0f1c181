"""From records to tau-b: scores of an edge's candidates beside the supernet's accuracy with that edge discretized."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from string import ascii_uppercase as LETTERS

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from analysis.common import NONE, order_methods
from analysis.stats import mean_tau_p, summarize, tau_b, tau_b_p
from itnas.errors import UserError

PLACE = ["cell", "group", "choice"]
ONE, ALL = "one cell", "all cells"
"""Scopes: an edge discretized in one cell (as the paper does; the headline), or in all cells at once."""


def last_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Return each run's scores of every kind at the last epoch that has them."""
    last = scores.groupby(["run_id", "kind"], observed=True)["epoch"].transform("max")
    return scores[scores["epoch"] == last]


def wide(frame: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """Return one row per edge (``keys``) and one column per candidate; NaN where an edge lacks the candidate."""
    names = [*keys, "candidate"]
    codes, levels = zip(*(_sorted_codes(frame[name]) for name in names), strict=True)
    rows = pd.Series(frame[value].to_numpy(), pd.MultiIndex(levels, codes, names=names))
    return rows.unstack("candidate")  # noqa: PD010 (refuses duplicates)


def _sorted_codes(column: pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Return each value's place among the sorted distinct ones, and these; categories are sorted as the texts they are."""
    codes, found = pd.factorize(column)
    levels = pd.Index(found if is_numeric_dtype(found) else found.astype(str))
    order = np.argsort(levels)
    return np.argsort(order)[codes], levels[order]


def pair_edges(scores: pd.DataFrame, discretization: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Pair every discretized edge with its score, once per kind of score.

    A cell's accuracies meet the same cell's scores where the method scores per cell, else the aggregate's.

    Returns:
        Rows (run, kind, protocol, scope, cell, group, choice, own_score), their scores and their accuracies
        ``[row, candidate]``; the candidates are the columns in ``rows.attrs["candidates"]``.
    """
    accuracy = wide(discretization, ["run_id", "protocol", *PLACE], "accuracy")
    score = wide(last_scores(scores), ["run_id", "kind", *PLACE], "score").reindex(columns=accuracy.columns)
    edges = accuracy.index.to_frame(index=False)
    kinds = score.index.to_frame(index=False)[["run_id", "kind"]].drop_duplicates()
    rows = edges.assign(row=np.arange(len(edges))).merge(kinds, on="run_id")
    own = _positions(score, rows)
    aggregate = _positions(score, rows.assign(cell=-1))
    rows["own_score"] = own >= 0
    position = np.where(own >= 0, own, aggregate)
    known = position >= 0
    rows, position = rows[known].reset_index(drop=True), position[known]
    rows["scope"] = np.where(rows["cell"] < 0, ALL, ONE)
    rows.attrs["candidates"] = list(accuracy.columns)
    return rows, score.to_numpy()[position], accuracy.to_numpy()[rows.pop("row").to_numpy()]


def _positions(score: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """Position of every row's edge in ``score`` (-1: not there)."""
    return score.index.get_indexer(pd.MultiIndex.from_frame(rows[["run_id", "kind", *PLACE]]))


def edge_taus(scores: pd.DataFrame, discretization: pd.DataFrame, *, p: bool = True) -> pd.DataFrame:
    """Return tau-b of every discretized edge.

    Columns: run_id, protocol, kind, scope, cell, group, choice, own_score; ``n`` candidates, ``tau``, its two-sided
    ``p`` (where asked for: it takes longest), ``tau_without_none``; ``top1``: whether the best-scored candidate is (one
    of) the most accurate, NaN for a constant score; ``chance``: the probability of that for a random candidate.
    """
    rows, score, accuracy = pair_edges(scores, discretization)
    if rows.empty:
        return rows.assign(n=0, tau=np.nan, p=np.nan, tau_without_none=np.nan, top1=np.nan, chance=np.nan)
    rows["n"] = (~np.isnan(score) & ~np.isnan(accuracy)).sum(axis=1)
    rows["tau"] = tau_b(score, accuracy)
    if p:
        rows["p"] = tau_b_p(score, accuracy)
    real = [name != NONE for name in rows.attrs["candidates"]]
    rows["tau_without_none"] = tau_b(score[:, real], accuracy[:, real])
    rows["top1"], rows["chance"] = top1_agreement(score, accuracy)
    return rows


def top1_agreement(score: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return per row whether the best-scored candidate is a most accurate one (NaN: constant score), and its chance."""
    best = np.take_along_axis(accuracy, np.nanargmax(score, axis=1)[:, None], axis=1)[:, 0]
    highest = np.nanmax(accuracy, axis=1)
    constant = np.nanmax(score, axis=1) == np.nanmin(score, axis=1)
    chance = (accuracy == highest[:, None]).sum(axis=1) / (~np.isnan(accuracy)).sum(axis=1)
    return np.where(constant, np.nan, (best == highest).astype(float)), chance


def run_taus(edges: pd.DataFrame) -> pd.DataFrame:
    """Return the mean tau of every run, with the number of edges that have one and that have none."""
    grouped = edges.groupby(["method", "search_seed", "run_id", "kind", "protocol", "scope"], observed=True)
    means = grouped[["tau", "tau_without_none", "top1", "chance"]].mean()
    return means.assign(
        edges=grouped["tau"].count(), constant=grouped["tau"].size() - grouped["tau"].count()
    ).reset_index()


def method_taus(edges: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds per method, kind, protocol and scope, with interval, p and top-1 agreement."""
    keys = ["method", "kind", "protocol", "scope"]
    runs = run_taus(edges).groupby(keys, observed=True)
    rows = []
    for key, part in edges.groupby(keys, observed=True):
        per_run, counted = runs.get_group(key), int(part["tau"].count())
        tau, bare = summarize(per_run["tau"].to_numpy()), summarize(per_run["tau_without_none"].to_numpy())
        row: dict[str, object] = dict(zip(keys, key, strict=True))
        row |= {"seeds": len(per_run), "edges": counted, "constant": len(part) - counted}
        row |= {"tau": tau.mean, "sd": tau.sd, "low": tau.low, "high": tau.high}
        row |= {"p": mean_tau_p(part["tau"].to_numpy(), part["n"].to_numpy()), "tau_without_none": bare.mean}
        rows.append(row | {"top1": per_run["top1"].mean(), "chance": part["chance"].mean()})
    return sort_rows(pd.DataFrame(rows), edges)


def sort_rows(frame: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    """Order rows by scope (headline first), protocol as recorded, and method."""
    protocols = list(dict.fromkeys(edges["protocol"]))
    methods = order_methods(frame["method"].unique())
    keys = {"scope": [ONE, ALL].index, "protocol": protocols.index, "method": methods.index}
    return frame.sort_values(["scope", "protocol", "method", "kind"], key=lambda c: c.map(keys.get(str(c.name), str)))


@dataclass(frozen=True)
class Protocols:
    """How supernets were discretized and measured; one trained on random labels is not measured as the others are."""

    letters: dict[str, str]
    """A letter for every recorded protocol; A is the one of most runs."""
    headline: dict[str, str]
    """The protocol each method is shown under where only one can be: A if its runs have it."""

    def shown(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows under their method's headline protocol."""
        wanted = rows["method"].astype(str).map(self.headline)
        return rows[rows["protocol"].astype(str) == wanted]

    def mark(self, method: str) -> str:
        """Return the letter of the method's headline protocol where there are several, else nothing."""
        return self.letters[self.headline[method]] if len(self.letters) > 1 else ""

    def text(self) -> str:
        """Return the protocols with their letters."""
        if len(self.letters) == 1:
            return f"protocol: {next(iter(self.letters))}"
        return "; ".join(f"protocol {letter}: {protocol}" for protocol, letter in self.letters.items())


def find_protocols(edges: pd.DataFrame, wished: str | None = None) -> Protocols:
    """Return the protocols of ``edges``; a ``wished`` one is the headline of the methods that have it, the only ones.

    Raises:
        UserError: no run has the wished protocol.
    """
    counts = edges.groupby("protocol", observed=True, sort=False)["run_id"].nunique()
    counts = counts.sort_values(ascending=False, kind="stable")
    if wished is not None and wished not in counts.index:
        raise UserError(f"--protocol {wished!r} is in no run; recorded are {', '.join(map(repr, counts.index))}")
    letters = {str(protocol): LETTERS[place % len(LETTERS)] for place, protocol in enumerate(counts.index)}
    ordered = [wished] if wished else list(letters)
    headline = {}
    for method, part in edges.groupby("method", observed=True):
        there = set(part["protocol"])
        headline |= {str(method): next(p for p in ordered if p in there)} if there & set(ordered) else {}
    return Protocols(letters, headline)


def protocol_agreement(discretization: pd.DataFrame) -> pd.DataFrame:
    """Return how alike two protocols rank the candidates, for runs measured under both (one cell at a time).

    Columns: method, ``first`` and ``second`` protocol, runs, ``edges`` with a tau, and ``tau``, the mean tau-b of the two
    protocols' accuracies over those edges. No rows where no run has two protocols.
    """
    rows = discretization[discretization["cell"] >= 0]
    accuracy = wide(rows, ["method", "protocol", "run_id", *PLACE], "accuracy")
    names = list(dict.fromkeys(accuracy.index.get_level_values("protocol")))
    found = []
    for first, second in combinations(names, 2):
        pair = [accuracy.xs(name, level="protocol") for name in (first, second)]
        both = pair[0].index.intersection(pair[1].index)
        tau = pd.Series(tau_b(pair[0].loc[both].to_numpy(), pair[1].loc[both].to_numpy()), index=both)
        for method, part in tau.groupby(level="method", sort=False):
            runs = len(part.index.get_level_values("run_id").unique())
            row = {"method": method, "first": first, "second": second, "runs": runs}
            found.append(row | {"edges": int(part.count()), "tau": part.mean()})
    return pd.DataFrame(found, columns=["method", "first", "second", "runs", "edges", "tau"])
