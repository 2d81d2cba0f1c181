"""The command line: every mistake is one sentence and a non-zero exit, never a traceback."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from itnas import cli
from itnas.errors import run_main
from reproduce import nb201

ROOT = Path(__file__).parents[1]


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, main: Callable[[], None] = cli.main) -> Done:
    """Run a command's main in this process, as its script would."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["itnas", *arguments])
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())


def study() -> None:
    run_main(nb201.main)


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ITNAS_DATA", raising=False)


@pytest.mark.parametrize(
    ("main", "arguments", "environment", "words"),
    [
        (cli.main, ["serach"], {}, "unknown command 'serach'"),
        (cli.main, ["search", "--method", "dart"], {}, "unknown method 'dart'"),
        (cli.main, ["search", "--method", "darts", "--preset", "digit"], {}, "unknown preset 'digit'"),
        (cli.main, ["search", "--method", "darts", "--space", "nb"], {}, "unknown search space 'nb'"),
        (cli.main, ["search", "--method", "darts", "--preset", "cifar10-small"], {}, "needs ITNAS_DATA"),
        (
            cli.main,
            ["search", "--method", "darts", "--preset", "paper"],
            {"ITNAS_DATA": "/nowhere/at/all"},
            "/nowhere/at/all",
        ),
        (cli.main, ["search", "--method", "random", "--device", "cuda:99"], {}, "device cuda:99 is not available"),
        (cli.main, ["status", "nowhere"], {}, "nowhere does not exist"),
        (study, ["--preset", "digitz"], {}, "unknown preset 'digitz'"),
        (study, ["--methods", "agnass"], {}, "unknown method 'agnass'"),
    ],
)
def test_a_mistake_is_one_sentence(
    main: Callable[[], None],
    arguments: list[str],
    environment: dict[str, str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = run(*arguments, main=main)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("main", "arguments", "word"),
    [
        (cli.main, ["search", "--methd", "darts"], "--methd"),
        (study, ["--sedes", "0"], "--sedes"),
        (cli.main, ["search", "--method", "darts", "--", "--epoch", "3"], "--epoch"),
    ],
)
def test_a_misspelt_option_is_named(main: Callable[[], None], arguments: list[str], word: str) -> None:
    done = run(*arguments, main=main)
    assert done.returncode == 2
    assert word in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_truncated_table_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ITNAS_DATA", str(tmp_path))
    (tmp_path / "nas-bench-201").mkdir()
    (tmp_path / "nas-bench-201" / "table.parquet").write_bytes(b"PAR1 and no more")
    done = run("search", "--method", "random", "--results", str(tmp_path / "r"))
    assert done.returncode == 2
    assert "table.parquet" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_lists_the_commands_and_search_explains_its_settings() -> None:
    listing = run("--help")
    assert listing.returncode == 0
    assert all(word in listing.stdout for word in ("search", "status", "query", "data"))
    settings = run("search", "--method", "it-nas", "--", "--help")
    assert "--optimizer.module.descriptor" in settings.stdout


def test_importing_the_library_imports_no_torch_and_prints_nothing() -> None:
    code = "import itnas, itnas.records, itnas.benchmarks, itnas.spaces, sys; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
