"""RobustDARTS's early stopping on curves whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis import eigenvalues
from analysis.eigenvalues import EigenvalueArguments, Stop, early_stop, judged
from tests.analysis.synthetic import Spec, write_results, write_run

DEFAULT = EigenvalueArguments()


def test_a_flat_or_falling_curve_never_stops() -> None:
    epochs = np.arange(0, 50, 2)
    assert early_stop(epochs, np.ones(25), DEFAULT) is None
    assert early_stop(epochs, np.linspace(2, 1, 25), DEFAULT) is None


def test_a_step_stops_when_the_average_has_grown_by_more_than_thirty_percent() -> None:
    epochs = np.arange(0, 50, 2)
    values = np.where(epochs >= 30, 2.0, 1.0)
    # The average centred on epoch 28 holds 24 26 28 30 32: two of five are 2, a mean of 1.4 > 1.3. It is known after
    # epoch 32; four records before 28 is epoch 20.
    assert early_stop(epochs, values, DEFAULT) == Stop(stopped=32, returned=20)


def test_the_first_ten_epochs_are_never_returned() -> None:
    epochs = np.arange(0, 50, 2)
    values = np.where(epochs >= 14, 2.0, 1.0)
    # Grown at the average centred on epoch 12 (8 10 12 14 16), known after 16; eight epochs before 12 is epoch 4.
    assert early_stop(epochs, values, EigenvalueArguments(earliest=4)) == Stop(stopped=16, returned=4)
    # The averages centred on 14 and 16 have grown too (over 6, 8), and so has 18 (over 10), the first that counts.
    assert early_stop(epochs, values, DEFAULT) == Stop(stopped=22, returned=10)


def test_too_few_records_never_stop() -> None:
    assert early_stop(np.arange(4), np.arange(4.0), DEFAULT) is None


def test_a_negative_average_has_no_growth() -> None:
    epochs = np.arange(0, 50, 2)
    assert early_stop(epochs, np.where(epochs >= 30, -0.1, -1.0), DEFAULT) is None


def test_a_short_search_is_never_judged() -> None:
    # 11 records, averages centred on 2 to 8; the last is compared with the one on record 4, epoch 8 < 10.
    assert not judged(np.arange(0, 22, 2), DEFAULT)
    assert judged(np.arange(0, 24, 2), DEFAULT)
    assert not judged(np.arange(0, 24, 4), DEFAULT)


def test_it_agrees_with_a_literal_walk_through_the_rule() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = np.exp(np.cumsum(rng.normal(0.02, 0.15, 25)))
        assert early_stop(np.arange(0, 50, 2), values, DEFAULT) == walk(values)


def walk(values: np.ndarray) -> Stop | None:
    """RobustDARTS's rule, a record at a time: every second epoch, window 5, four records back, from epoch 10."""
    averages: dict[int, float] = {}
    for record in range(4, len(values)):
        epoch = 2 * record
        averages[epoch - 4] = float(np.mean(values[record - 4 : record + 1]))
        before = epoch - 4 - 8
        if before >= 10 and averages[epoch - 4] / averages[before] > 1.3:
            return Stop(epoch, before)
    return None


def test_the_command_writes_table_and_figure_for_methods_with_alphas(tmp_path: Path) -> None:
    write_results(tmp_path, methods=("darts", "agnas"), seeds=2, epochs=40, eigenvalues=True)
    eigenvalues.main(EigenvalueArguments(tmp_path))
    folder = tmp_path / "analysis" / "nb201-digits"
    text = (folder / "eigenvalues.md").read_text()
    assert "| DARTS " in text
    assert "AGNAS" not in text
    assert "2 of 2" in text
    assert (folder / "eigenvalues.png").is_file()


def test_runs_without_eigenvalues_are_said_and_no_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, Spec(epochs=1))
    eigenvalues.main(EigenvalueArguments(tmp_path))
    assert "no run recorded eigenvalues" in capsys.readouterr().out
