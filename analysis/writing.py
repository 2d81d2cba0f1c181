"""Writing a table for every reader: CSV for programs, Markdown for people, LaTeX for papers; and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

NA = "n/a"
CONSTANT = f"{NA} (constant)"
"""What stands for tau where a score or accuracy is constant."""


@dataclass(frozen=True)
class Table:
    """A table as numbers (CSV) and as text (Markdown, LaTeX, terminal)."""

    name: str
    caption: str
    """What it shows, of what, with n, and whether accuracies are the benchmark's or ours."""
    data: pd.DataFrame
    display: pd.DataFrame
    listing: bool = False
    """Whether it lists every run or cell: such a table is for looking things up and gets no LaTeX."""


@dataclass(frozen=True)
class Figure:
    """A figure on disk and the small print below it."""

    path: Path
    note: str


def save_table(table: Table, folder: Path, notes: Iterable[str] = ()) -> None:
    """Write ``folder/<name>.csv``, ``.md`` and, unless it is a listing, ``.tex``; notes go below the Markdown table."""
    folder.mkdir(parents=True, exist_ok=True)
    table.data.to_csv(folder / f"{table.name}.csv", index=False)
    escaped = table.display.astype(str).map(lambda text: text.replace("|", "\\|"))
    body = escaped.to_markdown(index=False, disable_numparse=True)
    footer = "".join(f"\n- {note}" for note in notes)
    (folder / f"{table.name}.md").write_text(f"{table.caption}\n\n{body}\n{footer}\n".rstrip() + "\n", encoding="utf-8")
    if not table.listing:
        (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")


def latex(table: Table) -> str:
    r"""Return the table as a float over both columns, with booktabs rules, shrunk to the page where it is wider.

    The preamble needs ``\usepackage{booktabs,graphicx}``; the first line says so.
    """
    widths = [table.display[name].astype(str).str.len().max() for name in table.display.columns]
    styler = table.display.style.hide(axis="index").format(latex_text).format_index(latex_text, axis=1)
    body = styler.to_latex(hrules=True, column_format="".join("p{3.5cm}" if w > 60 else "l" for w in widths))
    return LATEX % {"caption": latex_text(table.caption), "name": table.name, "body": body.strip()}


LATEX = r"""%% needs \usepackage{booktabs,graphicx}
\begin{table*}[t]
\centering\footnotesize\setlength{\tabcolsep}{3pt}
\caption{%(caption)s}
\label{tab:%(name)s}
\vspace{4pt}
\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%%
%(body)s
}
\end{table*}
"""
_LATEX = {
    "`": "",
    "\\": "\\textbackslash{}",
    "&": "\\&",
    "%": "\\%",
    "$": "\\$",
    "#": "\\#",
    "_": "\\_",
    "{": "\\{",
    "}": "\\}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "±": "$\\pm$",
    "×": "$\\times$",
    "−": "$-$",
    "–": "--",
    "α": "$\\alpha$",
    "τ": "$\\tau$",
    "≥": "$\\geq$",
    "≤": "$\\leq$",
    "Δ": "$\\Delta$",
}


def latex_text(value: object) -> str:
    """Return ``value`` as LaTeX text: special characters escaped, ``<-`` as an arrow."""
    parts = str(value).split("<-")
    return "$\\leftarrow$".join("".join(_LATEX.get(character, character) for character in part) for part in parts)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with ``digits`` decimals, or n/a; what rounds to zero has no sign."""
    return NA if value is None or math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"


def mean_sd(mean: float, sd: float, digits: int = 2) -> str:
    """Return ``mean ± sd``, without the deviation where there is none."""
    return number(mean, digits) if math.isnan(sd) else f"{number(mean, digits)} ± {number(sd, digits)}"


def interval(low: float, high: float, digits: int = 2) -> str:
    """Return ``[low, high]``, or why there is none."""
    return f"{NA} (n < 2)" if math.isnan(low) else f"[{number(low, digits)}, {number(high, digits)}]"


def p_value(p: float) -> str:
    """Return a p value with three decimals."""
    return NA if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(value: float) -> str:
    """Return a fraction in percent without decimals."""
    return NA if math.isnan(value) else f"{100 * value:.0f} %"


def tau(value: float, constant: int) -> str:
    """Return tau with two decimals; ``n/a (constant)`` where it is NaN because all ``constant`` edges are."""
    return CONSTANT if math.isnan(value) and constant else number(value)


def filled(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Return rows of text as a frame; what a row lacks is n/a."""
    frame = pd.DataFrame(rows, dtype=object)
    return frame.where(frame.notna(), NA)
