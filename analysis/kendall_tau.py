"""Does a method's score rank operations as the supernet's discretization accuracy does?

Kendall's tau-b between the score of every candidate of an edge (alpha, attention, gate, angle, perturbation) and the
supernet's accuracy with that edge discretized to the candidate (AGNAS section 6.1, Fig. 3 and 7-9), per edge, cell, run
and method. A constant score or accuracy has no tau and is shown as ``n/a (constant)``.

    python analysis/kendall_tau.py results/
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pandas as pd

from analysis import background, plotting, tau_figures, writing
from analysis.common import Arguments, Group, keep, keep_numbers, label, order_methods, publish, read_groups, run, say
from analysis.discretization import (
    ONE,
    PLACE,
    Protocols,
    edge_taus,
    find_protocols,
    method_taus,
    protocol_agreement,
    run_taus,
    sort_rows,
)
from analysis.stats import tau_deviation
from analysis.writing import CONSTANT, NA, Table
from itnas.errors import UserError

PAPER_EDGES = ((0, 1), (1, 0), (2, 12), (4, 9))
"""(cell, edge index) of AGNAS Fig. 3, 7, 8 and 9, counted from 0."""


@dataclass(frozen=True)
class KendallArguments(Arguments):
    """Rank agreement of scores with discretization accuracy."""

    edges: tuple[str, ...] = ()
    """Edges of the bar figures as CELL:INDEX, such as 0:1 2:5; default: those of the AGNAS paper that the space has."""
    protocol: str | None = None
    """Protocol of figures and breakdowns; default: for every method the one that most runs have, if it has it."""


# --- tables ----------------------------------------------------------------------------------------------------


def summary_table(group: Group, edges: pd.DataFrame, protocols: Protocols) -> Table:
    """Return the table of mean tau per method; methods without discretization rows stand in it with their reason."""
    data = method_taus(edges) if len(edges) else pd.DataFrame()
    shown = [
        {
            "method": label(row["method"]),
            "score": row["kind"],
            "scope": row["scope"],
            "protocol": protocols.letters[row["protocol"]],
            "seeds": row["seeds"],
            "edges": f"{row['edges']} of {row['edges'] + row['constant']}",
            "τ": writing.tau(row["tau"], row["constant"]),
            "95 % interval": writing.interval(row["low"], row["high"]) if row["edges"] else NA,
            "p": writing.p_value(row["p"]),
            "τ without none": writing.number(row["tau_without_none"]),
            "top-1": writing.percent(row["top1"]),
            "chance": writing.percent(row["chance"]),
        }
        for row in data.to_dict("records")
    ]
    absent = [method for method in group.methods if data.empty or method not in set(data["method"])]
    shown += [absent_row(group, method) for method in absent]
    data = pd.concat(
        [data, pd.DataFrame({"method": absent, "seeds": [group.seeds(m) for m in absent]})], ignore_index=True
    )
    display = writing.filled(shown)
    if len(protocols.letters) == 1:
        display = display.drop(columns="protocol")
    return Table("kendall_tau", summary_caption(group, edges, protocols), data, display)


def absent_row(group: Group, method: str) -> dict[str, object]:
    """Return the row of a method whose supernet was not discretized."""
    scores = group.records["scores"]
    kind = scores.loc[scores["method"] == method, "kind"]
    constant = len(kind) > 0 and (kind == "constant").all()
    return {
        "method": label(method),
        "score": str(kind.iloc[0]) if len(kind) else NA,
        "seeds": group.seeds(method),
        "τ": CONSTANT if constant else f"{NA} (not recorded)",
    }


def summary_caption(group: Group, edges: pd.DataFrame, protocols: Protocols) -> str:
    """Return the caption of the summary table."""
    sizes = sorted(edges["n"].unique()) if len(edges) else []
    spread = ", ".join(f"{tau_deviation(int(n)):.3f} for {n} candidates" for n in sizes)
    images = sorted(group.records["discretization"]["n_images"].dropna().unique())
    return (
        "Kendall's tau-b between score and supernet accuracy after discretizing one edge"
        f" ({' or '.join(str(int(n)) for n in images) or 'no'} images; {protocols.text() or NA}). Mean over the edges"
        " where neither is constant, then over search seeds, with 95 % percentile bootstrap interval over seeds; p: no"
        " association, edges taken as independent; the standard deviation of one tau without association is"
        f" {spread or NA}."
    )


def runs_table(group: Group, edges: pd.DataFrame) -> Table:
    """Return the table of mean tau per run."""
    data = sort_rows(run_taus(edges), edges).drop(columns="run_id")
    shown = pd.DataFrame(
        {
            "method": data["method"].astype(str).map(label),
            "seed": data["search_seed"],
            "score": data["kind"],
            "scope": data["scope"],
            "protocol": data["protocol"],
            "edges": data["edges"],
            "τ": [writing.tau(*row) for row in zip(data["tau"], data["constant"], strict=True)],
            "τ without none": data["tau_without_none"].map(writing.number),
            "top-1": data["top1"].map(writing.percent),
        }
    )
    return Table("kendall_tau_runs", "Mean tau-b of every run.", data, shown, listing=True)


def breakdown_table(edges: pd.DataFrame, by: str, name: str, protocols: Protocols) -> Table:
    """Return mean tau in scope one cell: a row per method, a column per choice or cell (``by``)."""
    part = protocols.shown(edges)
    part = part[part["scope"] == ONE]
    columns = [by] if by == "cell" else ["group", by]
    counts = part.groupby(["method", "kind"], observed=True)["run_id"].nunique()
    mean = part.groupby(["method", "kind", *columns], observed=True, sort=False)["tau"].mean().unstack(columns)  # noqa: PD010
    single = by == "cell" or len(part["group"].unique()) < 2
    mean.columns = [f"cell {c}" if by == "cell" else str(c[-1]) if single else f"{c[0]} {c[1]}" for c in mean.columns]
    data = mean.reset_index()
    data.insert(2, "seeds", [counts[key] for key in mean.index])
    order = order_methods(data["method"])
    data = data.sort_values(["method", "kind"], key=lambda c: c.map(order.index) if c.name == "method" else c)
    shown = data.assign(
        method=data["method"].map(label), **{c: [writing.tau(v, 1) for v in data[c]] for c in mean.columns}
    )
    caption = f"Mean tau-b per {by} over seeds (scope: {ONE}; {protocols.text()})."
    return Table(name, caption, data, shown.rename(columns={"kind": "score"}))


def agreement_table(data: pd.DataFrame, protocols: Protocols) -> Table:
    """Return the table of how alike two protocols rank candidates."""
    shown = pd.DataFrame(
        {
            "method": data["method"].map(label),
            "protocols": [
                f"{protocols.letters[a]} and {protocols.letters[b]}"
                for a, b in zip(data["first"], data["second"], strict=True)
            ],
            "runs": data["runs"],
            "edges": data["edges"],
            "τ": [writing.tau(value, 1) for value in data["tau"]],
        }
    )
    caption = f"Agreement of protocols: mean tau-b of their accuracies of one edge's candidates. {protocols.text()}."
    return Table("kendall_tau_protocols", caption, data, shown)


# --- command ----------------------------------------------------------------------------------------------------------


def chosen_edges(records_edges: pd.DataFrame, wished: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """Return (cell, group, choice) of the wished CELL:INDEX edges, or of the paper's where none is wished.

    Raises:
        UserError: a wished edge is malformed or does not exist.
    """
    places = records_edges.loc[records_edges["cell"] >= 0, PLACE].drop_duplicates()
    by_cell: dict[int, list[tuple[int, str, str]]] = {}
    for place in places.itertuples(index=False, name=None):
        by_cell.setdefault(place[0], []).append(place)
    found: list[tuple[int, str, str]] = []
    for text in wished or tuple(f"{cell}:{index}" for cell, index in PAPER_EDGES):
        cell, _, index = text.partition(":")
        if not (cell.isdigit() and index.isdigit()):
            raise UserError(f"--edges has {text!r}; write CELL:INDEX, such as 0:1")
        if int(index) < len(by_cell.get(int(cell), [])):
            found.append(by_cell[int(cell)][int(index)])
        elif wished:
            raise UserError(f"--edges has {text!r}, but the records have no such edge; cells are {sorted(by_cell)}")
    return found


def group_edges(group: Group, *, p: bool) -> pd.DataFrame:
    """Return tau-b of every discretized edge of the group, with its p where asked for, and its run's method and seed."""
    edges = edge_taus(group.records["scores"], group.records["discretization"], p=p)
    identity = group.records.runs.assign(run_id=group.records.runs["run_id"].astype(str))
    return edges.merge(identity[["run_id", "method", "search_seed"]], on="run_id")


def analyse(group: Group, arguments: KendallArguments) -> None:
    """Write every table and figure of one group."""
    discretization = group.records["discretization"]
    if len(discretization) and not group.for_report:  # the p of single edges are for this file only
        background.do(lambda: keep_numbers(group_edges(group, p=True), "kendall_tau_edges", group))
    edges = group_edges(group, p=False)
    found = find_protocols(edges, arguments.protocol) if len(edges) else Protocols({}, {})
    publish(summary_table(group, edges, found), group)
    say(group)
    if edges.empty:
        print("No run of this group has discretization accuracies, so there is no tau to break down.")
        return
    publish(breakdown_table(edges, "choice", "kendall_tau_choices", found), group)
    publish(breakdown_table(edges, "cell", "kendall_tau_cells", found), group)
    agreement = protocol_agreement(discretization)
    if len(agreement):
        publish(agreement_table(agreement, found), group)
    keep(runs_table(group, edges), group)
    if plotting.available():
        tau_figures.draw_distribution(group, edges, found)
        for place in chosen_edges(discretization, arguments.edges):
            tau_figures.draw_edge(group, place, found)


def main(arguments: KendallArguments) -> None:
    """Analyse every group below the results folder."""
    for group in read_groups(arguments, ("scores", "discretization")):
        analyse(group, arguments)


if __name__ == "__main__":
    run(main, KendallArguments, __doc__)
