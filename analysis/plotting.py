"""One style for every figure: column widths, a colour-blind palette with a fixed colour per method, PNG beside PDF.

Matplotlib is imported when the first figure is made, so that the tables work without it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from analysis import background, writing
from analysis.common import Group, label

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.3, 6.9
"""Widths of one column and of two, in inches."""
COLORS = {
    "random": "#7f7f7f",
    "darts": "#D55E00",
    "darts-2nd": "#E69F00",
    "darts-pt": "#0072B2",
    "darts-pt-fix-alpha": "#56B4E9",
    "agnas": "#009E73",
    "rlnas": "#CC79A7",
    "it-nas": "#000000",
}
"""Okabe and Ito's colours, safe for colour-blind readers."""
SPARE = ("#882255", "#999933", "#44AA99", "#332288", "#AA4499", "#117733")
"""Colours of methods that have none of their own (Tol's muted scheme)."""
REPORT_DPI = 150
"""Resolution of a report's figures, which are shown so wide as they have pixels."""
MANY = 300
"""Dots of one colour from which on a PDF holds their picture."""
SMALL = 6
"""Panels of a figure from which on they are so small that they have few ticks."""
STYLE: dict[str, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "axes.titley": 1.0,  # where it is without ticks above; looking for those at every step takes time
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "savefig.dpi": 250,
    "pdf.fonttype": 42,
}


def available() -> bool:
    """Return whether figures can be drawn; if not, say in one sentence how to get them."""
    try:
        import matplotlib as mpl
        import matplotlib.backends.backend_agg
        import matplotlib.figure
    except ImportError:
        print(
            "Figures were left out because matplotlib is not installed: pip install 'itnas[plot]' and run this again."
        )
        return False
    mpl.use("Agg")
    return True


def subplots(rows: int, columns: int, width: float, height: float, **options: object) -> tuple[Figure, Any]:
    """Return a figure of ``width`` x ``height`` inches and its ``[rows, columns]`` axes, in the suite's style."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mpl.rcParams.update(cast(Any, STYLE))
    figure = Figure(figsize=(width, height), layout="constrained")  # without pyplot, which takes long to import
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **cast(Any, options))
    for axis in axes.flat:
        axis.spines[:].set_in_layout(False)  # with their ticks they end before the labels do; measuring takes long
        if axes.size >= SMALL:
            axis.locator_params(nbins=4)
    return figure, axes


def save(figure: Figure, group: Group, name: str, note: str) -> None:
    """Write ``<name>.png`` and ``.pdf`` for ``group`` with ``note`` (what it is of, with n) in small print below."""
    lines = textwrap.fill(note, int(24 * figure.get_figwidth()))
    figure.supxlabel(lines, fontsize=5.5, color="#555555", x=0.99, ha="right")

    for axis in (one for axes in figure.axes for one in (axes.xaxis, axes.yaxis)):
        if not axis.get_label_text():
            axis.set_label_coords(0, 0)  # to find the place of an empty label takes long
    if group.for_report:
        figure.set_dpi(REPORT_DPI)  # texts are measured once for layout and picture

    def write() -> None:
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.execute(figure)
            figure.set_layout_engine(None)  # laid out once, not again for every format
        if group.for_report:
            figure.savefig(file(group, name, "png"), dpi=REPORT_DPI, pil_kwargs={"compress_level": 1})
            return
        figure.savefig(file(group, name, "png"))
        figure.savefig(file(group, name, "pdf"), dpi=150, metadata={"CreationDate": None})

    write_files(group, name, note, write)


def file(group: Group, name: str, suffix: str) -> Path:
    """Return where a figure of ``group`` goes; its folder exists afterwards."""
    group.folder.mkdir(parents=True, exist_ok=True)
    return group.folder / f"{name}.{suffix}"


def write_files(group: Group, name: str, note: str, write: Callable[[], None]) -> None:
    """Let ``write`` make the files of a figure, enter it among what the group has, and say where it is.

    The files of a script are made in the background (:func:`analysis.background.do`); a report wants them at once.
    """
    if group.for_report:
        write()
    else:
        background.do(write)
        print(f"figure: {file(group, name, 'png')} (and .pdf)")
    group.made.append(writing.Figure(file(group, name, "png"), note))


def lines(axis: Axes, rows: pd.DataFrame, x: str, y: str, **looks: object) -> None:
    """Draw one line per run of ``rows`` (sorted along it) as a single artist: a thousand runs are drawn in no time."""
    breaks = rows["run_id"].to_numpy()[1:] != rows["run_id"].to_numpy()[:-1]
    at = np.flatnonzero(breaks) + 1
    xs, ys = (np.insert(rows[name].to_numpy(dtype=float), at, np.nan) for name in (x, y))
    axis.plot(xs, ys, **cast(Any, looks))


def dots(axis: Axes, x: object, y: object, **looks: object) -> None:
    """Draw a dot per value; many of them as one picture inside the PDF, which would otherwise list each."""
    axis.plot(cast(Any, x), cast(Any, y), ".", rasterized=np.size(cast(Any, x)) > MANY, **cast(Any, looks))


def colors(methods: Sequence[str]) -> dict[str, str]:
    """Return the colour of every method; one without its own takes the next spare colour."""
    unknown = [method for method in methods if method not in COLORS]
    spare = {method: SPARE[index % len(SPARE)] for index, method in enumerate(unknown)}
    return {method: COLORS.get(method) or spare[method] for method in methods}


def counted(method: str, n: int) -> str:
    """Return a tick label such as ``DARTS (n=3)`` on two lines."""
    return broken(f"{label(method)}\nn={n}")


def broken(text: str) -> str:
    """Return ``text`` with a line break before an opening bracket."""
    return text.replace(" (", "\n(")


def panels(axes: Sequence[Axes], keep: int) -> None:
    """Hide the axes from number ``keep`` on."""
    for axis in axes[keep:]:
        axis.set_visible(False)
