"""One page with every table and figure, for whoever would rather look than read.

The page is a single HTML file without scripts or anything to load: figures are inside it, so that it can be mailed. It
is made from the records, not from the other analyses' files, which are read once; two processes make its sections.

    python analysis/report.py results/
"""

from __future__ import annotations

import base64
import gc
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from analysis import eigenvalues, figures, kendall_tau, plotting, ranking, regret, skip_connections, stability, tables
from analysis.common import Arguments, Group, label, left_out, read_groups, run
from analysis.writing import Figure, Table
from itnas.records import TABLES

Section = tuple[str, Any, Any]
"""Title, analysis module, and its arguments' class (None: its `analyse` takes none)."""
SECTIONS: tuple[Section, ...] = (
    ("What was found", tables, tables.TableArguments),
    ("The searches", figures, None),
    ("Regret", regret, None),
    ("Scores and discretization accuracy", kendall_tau, kendall_tau.KendallArguments),
    ("Skip connections", skip_connections, skip_connections.SkipArguments),
    ("Stability of choices", stability, stability.StabilityArguments),
    ("Ranking of architectures", ranking, ranking.RankingArguments),
    ("Curvature", eigenvalues, eigenvalues.EigenvalueArguments),
)
LONGEST = (kendall_tau, figures, ranking, stability, skip_connections)
"""The modules of sections that take long, which are begun first so that no process is left alone with one in the end."""
WORKERS = 2
"""Processes that make sections: drawing is most of a report's time."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto; max-width: 1100px;
  padding: 1.5rem; }
h1 { font-size: 1.7rem; } h2 { border-bottom: 2px solid #0072b2; margin-top: 3rem; } h3 { margin-top: 2.2rem; }
.question { color: #555; margin-top: -0.6rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums; margin: 0.4rem 0 1.6rem; }
.caption { color: #444; font-size: 13px; margin: 1.2rem 0 0.3rem; }
th { border-bottom: 1px solid #1a1a1a; border-top: 2px solid #1a1a1a; text-align: left; padding: 3px 10px 3px 0; }
td { padding: 2px 14px 2px 0; border-bottom: 1px solid #eee; vertical-align: top; white-space: nowrap; }
td.long { white-space: normal; min-width: 16rem; }
.origin th { border: 0; border-bottom: 1px solid #eee; font-weight: 600; padding: 2px 14px 2px 0; }
figure { display: inline-block; margin: 1rem 1rem 1.2rem 0; vertical-align: top; }
img { max-width: 100%; height: auto; }
details { margin: 0.6rem 0; } summary { cursor: pointer; color: #0072b2; }
nav a, a { color: #0072b2; } .notes { color: #8a4b00; }
"""


def first_line(module: Any) -> str:  # noqa: ANN401
    """Return the question an analysis answers: the first sentence of its description."""
    return str(module.__doc__).strip().splitlines()[0]


def section_html(group: Group, section: Section, results: Path) -> str:
    """Return one analysis of ``group``: its question, tables and figures, and what else was said."""
    title, module, settings = section
    part, said = replace(group, made=[], for_report=True), StringIO()
    with redirect_stdout(said):
        module.analyse(*((part,) if settings is None else (part, settings(results))))
    parts = [f'<h3>{escape(title)}</h3>\n<p class="question">{escape(first_line(module))}</p>\n']
    parts += [table_html(one) if isinstance(one, Table) else figure_html(one) for one in part.made]
    return "".join(parts + [f"<p>{escape(line)}</p>\n" for line in said.getvalue().splitlines() if line])


_shared: list[Group] = []
"""The groups in a worker process."""


def _job(place: tuple[int, int], results: Path) -> str:
    """Make one section in a worker: (number of the group, number of the section)."""
    return section_html(_shared[place[0]], SECTIONS[place[1]], results)


def all_sections(groups: list[Group], results: Path) -> dict[tuple[int, int], str]:
    """Return the HTML of every section by (number of the group, number of the section), made by several processes.

    On Linux they are forked and so have the records already; elsewhere, where that is not safe, they are sent them.
    """
    modules = [*LONGEST, *(module for _, module, _ in SECTIONS if module not in LONGEST)]
    sections = sorted(range(len(SECTIONS)), key=lambda number: modules.index(SECTIONS[number][1]))
    places = [(group, section) for section in sections for group in range(len(groups))]
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(WORKERS, context, initializer=_shared.extend, initargs=(groups,)) as pool:
        return dict(zip(places, pool.map(partial(_job, results=results), places), strict=True))


def table_html(table: Table) -> str:
    """Return a table as HTML; a listing is folded away."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in table.display.columns)
    rows = "".join(
        "<tr>" + "".join(cell_html(str(value)) for value in row) + "</tr>\n"
        for row in table.display.itertuples(index=False, name=None)
    )
    body = f'<p class="caption">{escape(table.caption)}</p><div class="wide"><table>'
    body += f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    if not table.listing:
        return body
    return f"<details><summary>{escape(table.name)}: {len(table.display)} rows</summary>{body}</details>\n"


def cell_html(text: str) -> str:
    """Return a cell; a long text may break."""
    return f'<td class="long">{escape(text)}</td>' if len(text) > 60 else f"<td>{escape(text)}</td>"


def figure_html(figure: Figure) -> str:
    """Return a figure as HTML with the picture inside, its small print as the text for who cannot see it."""
    content = figure.path.read_bytes()
    width = min(1035, int.from_bytes(content[16:20], "big"))  # of a PNG's header, in pixels
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return f'<figure><img alt="{escape(figure.note)}" width="{width}" src="{source}"></figure>\n'


def provenance(group: Group) -> str:
    """Return what the group's numbers come from: runs, code, machines, data and table."""
    metas = list(group.records.meta.values())

    def of(section: str, key: str) -> str:
        return ", ".join(sorted({str(meta[section].get(key)) for meta in metas})) or "n/a"

    commits = {str(m["code"].get("commit"))[:12] + (" (with changes)" if m["code"].get("dirty") else "") for m in metas}
    named = {(t["name"], str(t["sha256"])[:12]) for m in metas if (t := m["data"].get("table"))}
    rows = {
        "runs": ", ".join(f"{label(method)}: {group.seeds(method)}" for method in group.methods),
        "search data": f"{group.constant('dataset')} (sha256 {of('data', 'checksum')[:12]}), {of('data', 'split')}",
        "benchmark table": ", ".join(f"{name} (sha256 {digest})" for name, digest in sorted(named)) or "none",
        "code": ", ".join(sorted(commits)),
        "torch": of("environment", "torch"),
        "device": of("environment", "device"),
    }
    lines = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>\n" for key, value in rows.items())
    notes = "".join(f'<p class="notes">{escape(note)}</p>\n' for note in group.notes)
    return f'<table class="origin">{lines}</table>\n{notes}'


def group_html(group: Group, made: list[str]) -> str:
    """Return everything of one group: its heading and provenance, and its sections."""
    return f'<h2 id="{escape(group.name)}">{escape(group.name)}</h2>\n{provenance(group)}{"".join(made)}'


def page(groups: list[Group], results: Path) -> str:
    """Return the whole page."""
    links = "".join(f'<li><a href="#{escape(g.name)}">{escape(g.name)}</a></li>' for g in groups)
    notes = groups[0].records.notes
    left = f'<p class="notes">{escape(left_out(notes))}</p>' if notes else ""
    made = all_sections(groups, results)
    body = "".join(
        group_html(group, [made[number, section] for section in range(len(SECTIONS))])
        for number, group in enumerate(groups)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>itnas: {escape(', '.join(g.name for g in groups))}</title><style>{STYLE}</style></head>\n<body>\n"
        f"<h1>Architecture selection: report</h1>\n{left}<nav><ul>{links}</ul></nav>\n{body}</body></html>\n"
    )


def main(arguments: Arguments) -> None:
    """Write ``report.html``."""
    out = arguments.out or arguments.results / "analysis"
    plotting.available()
    with tempfile.TemporaryDirectory() as scratch:
        groups = list(read_groups(replace(arguments, out=Path(scratch)), tuple(TABLES)))
        gc.freeze()  # the records outlive every search for garbage, in the workers too
        text = page(groups, arguments.results)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "report.html"
    path.write_text(text, encoding="utf-8")
    print(f"report: {path} ({len(text) / 1e6:.1f} MB, {len(groups)} group{'s' if len(groups) > 1 else ''})")


if __name__ == "__main__":
    run(main, Arguments, __doc__)
