"""Studies are lists of searches: what they hold, in which order, and how a sweep names them."""

from __future__ import annotations

import pytest

from itnas.errors import UserError
from itnas.optimizers import ALL_METHODS
from itnas.sweep import labels_of
from reproduce import common, nb201, oneshot1


def test_every_method_on_every_space_with_the_first_seed_then_with_the_next() -> None:
    found = [(c.seed, c.space, c.method) for c in oneshot1.study(oneshot1.Settings(seeds=(0, 3)))]
    spaces = [f"nasbench1shot1-{number}" for number in (1, 2, 3)]
    assert found == [(seed, space, method) for seed in (0, 3) for space in spaces for method in ALL_METHODS]
    assert {c.space for c in nb201.study(common.Settings())} == {"nasbench201"}


def test_a_space_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match="no search space 4; choose among 1, 2 and 3"):
        oneshot1.study(oneshot1.Settings(spaces=(1, 4)))


def test_a_sweep_names_the_space_only_where_there_are_several() -> None:
    settings = oneshot1.Settings(methods=("random", "agnas"), seeds=(7,), spaces=(2,))
    assert labels_of(oneshot1.study(settings)) == ["random seed 7", "agnas seed 7"]
    both = oneshot1.study(oneshot1.Settings(methods=("random",), seeds=(7,), spaces=(1, 3)))
    assert labels_of(both) == ["nasbench1shot1-1 random seed 7", "nasbench1shot1-3 random seed 7"]


def test_analyses_read_the_records_of_their_study_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    calls: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda command, check: calls.append(command))
    common.analyse(Path("results"), "oneshot1", ("tables", "regret"))
    assert [Path(call[1]).name for call in calls] == ["tables.py", "regret.py"]
    assert all(call[2:] == ["results/oneshot1", "--out", "results/analysis"] for call in calls)
