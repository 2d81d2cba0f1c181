"""The LaTeX of every table compiles in a two-column paper (where pdflatex is installed, as it is in CI)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAPER = r"""\documentclass[twocolumn]{article}
\usepackage[margin=0.8in]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_table_compiles_in_a_two_column_paper(table_results: Path, tmp_path: Path) -> None:
    for script in ("kendall_tau", "skip_connections", "tables", "figures", "stability", "ranking", "eigenvalues"):
        command = [sys.executable, str(ROOT / "analysis" / f"{script}.py"), str(table_results), "--out", str(tmp_path)]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    tables = sorted((tmp_path / "nb201-digits").glob("*.tex"))
    assert len(tables) >= 9
    paper = tmp_path / "paper.tex"
    paper.write_text(PAPER % "\n".join(f"\\input{{{table}}}\\clearpage" for table in tables))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", paper.name],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-3000:]
    assert "Overfull" not in log
    assert "Float too large" not in log
