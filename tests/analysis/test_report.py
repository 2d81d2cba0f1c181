"""The report: one file, everything in it, nothing to load, no error in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis import report
from analysis.common import Arguments
from tests.analysis.synthetic import Spec, write_results, write_run

VOID = {"meta", "link", "img", "br"}


class Balance(HTMLParser):
    """Collects opened tags, and fails on one that is closed in the wrong place."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(table_results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of all methods x three seeds."""
    out = tmp_path_factory.mktemp("report")
    report.main(Arguments(table_results, out))
    return out / "report.html"


def test_the_page_is_one_wellformed_file_with_everything_inside(page: Path) -> None:
    text, found = page.read_text(encoding="utf-8"), Balance()
    found.feed(text)
    assert found.open == []
    assert found.seen.count("img") >= 15
    assert found.seen.count("table") >= 12
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


def test_nothing_is_loaded_and_nothing_runs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert [
        source for source in re.findall(r'(?:src|href)="([^"]{0,20})', text) if not source.startswith(("data:", "#"))
    ] == []


def test_every_analysis_is_there_with_its_question(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for title, module, _ in report.SECTIONS:
        assert f"<h3>{title}</h3>" in text
        assert report.first_line(module).split("?")[0].split("'")[0] in text


def test_every_space_has_its_regret_beside_printed_numbers(tmp_path: Path) -> None:
    for number in (1, 2):
        space = f"nasbench1shot1-{number}"
        write_results(tmp_path, ("random", "darts"), seeds=2, study="oneshot1", space=space, epochs=2)
    report.main(Arguments(tmp_path, tmp_path))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    found = text.split("<h3>")
    regrets = [part for part in found if part.startswith("Regret</h3>")]
    assert [part.count("<figure>") for part in regrets] == [1, 1]
    for number, part in enumerate(regrets, start=1):
        assert f"<th>nasbench1shot1-{number} regret</th>" in part
        assert "<td>Best cell of the space</td>" in part


def test_a_study_without_a_table_says_why_it_has_no_regret(trained_results: Path, tmp_path: Path) -> None:
    report.main(Arguments(trained_results, tmp_path))
    assert "no regret, which needs the benchmark table" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_is_the_same_when_it_is_made_again(page: Path, table_results: Path, tmp_path: Path) -> None:
    report.main(Arguments(table_results, tmp_path))
    assert (tmp_path / "report.html").read_bytes() == page.read_bytes()


def test_what_a_record_says_is_escaped_and_what_was_left_out_is_said(tmp_path: Path) -> None:
    write_run(tmp_path, Spec(method="<b>bold", epochs=2))
    write_run(tmp_path, Spec(method="darts", epochs=2, status="failed"))
    report.main(Arguments(tmp_path, tmp_path))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>bold" not in text
    assert "&lt;b&gt;bold" in text
    assert "Left out 1 run: failed: darts seed 0" in text


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_it_opens_in_chromium_without_a_console_message(page: Path, tmp_path: Path) -> None:
    switches = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    switches += " --disable-component-update --disable-sync --enable-logging=stderr --window-size=1200,2000"
    shot = tmp_path / "shot.png"
    command = [
        "chromium",
        *switches.split(),
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={shot}",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "CONSOLE" not in done.stderr
    assert shot.stat().st_size > 50_000
