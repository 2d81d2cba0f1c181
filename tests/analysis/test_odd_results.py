"""Results folders as they occur: one run, random search only, nothing evaluated, several groups, two protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import figures, kendall_tau, skip_connections, stability, tables
from analysis.common import Arguments
from itnas import records
from tests.analysis.synthetic import PROTOCOL, Spec, write_results, write_run

ANALYSES: list[tuple[Any, type[Arguments]]] = [
    (tables, tables.TableArguments),
    (figures, Arguments),
    (kendall_tau, kendall_tau.KendallArguments),
    (skip_connections, skip_connections.SkipArguments),
    (stability, stability.StabilityArguments),
]
every = pytest.mark.parametrize(("module", "settings"), ANALYSES, ids=[module.__name__ for module, _ in ANALYSES])


@every
@pytest.mark.parametrize("method", ["darts", "random"])
def test_one_run_is_enough(module: Any, settings: type[Arguments], method: str, tmp_path: Path) -> None:
    write_run(tmp_path, Spec(method=method, epochs=2))
    module.main(settings(tmp_path))
    assert list((tmp_path / "analysis" / "nb201-digits").glob("*.csv"))


@every
def test_cells_that_nobody_evaluated_are_no_obstacle(
    module: Any, settings: type[Arguments], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path, Spec(method="agnas", epochs=2))
    records.write_table(folder, "evaluation", [])
    module.main(settings(tmp_path))
    if module is tables:
        assert "no derived cell has been evaluated" in capsys.readouterr().out


@every
def test_groups_are_analysed_apart(module: Any, settings: type[Arguments], tmp_path: Path) -> None:
    write_run(tmp_path, Spec(epochs=2))
    write_run(tmp_path, Spec(epochs=3, preset="cifar10-small", dataset="cifar10", cells=2))
    module.main(settings(tmp_path))
    names = [{path.name for path in (tmp_path / "analysis" / group).glob("*.csv")} for group in GROUPS]
    assert names[0]
    assert names[0] == names[1]


GROUPS = ("nb201-digits", "nb201-cifar10-small")


@every
def test_a_method_without_epochs_beside_one_with(module: Any, settings: type[Arguments], tmp_path: Path) -> None:
    write_results(tmp_path, methods=("random", "rlnas"), seeds=2, epochs=1)
    module.main(settings(tmp_path))


def test_protocols_recorded_side_by_side_are_compared(tmp_path: Path) -> None:
    other = PROTOCOL.replace("recalib", "eval")
    write_results(tmp_path, methods=("darts", "it-nas"), seeds=2, epochs=2, protocols=(PROTOCOL, other))
    kendall_tau.main(kendall_tau.KendallArguments(tmp_path))
    folder = tmp_path / "analysis" / "nb201-digits"
    found = pd.read_csv(folder / "kendall_tau.csv")
    assert set(found["protocol"]) == {PROTOCOL, other}
    agreement = pd.read_csv(folder / "kendall_tau_protocols.csv")
    assert agreement["edges"].tolist() == [36, 36]
    assert agreement["tau"].between(-1, 1).all()
