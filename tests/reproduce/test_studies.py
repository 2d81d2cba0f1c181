"""Studies are lists of searches: what they hold, in which order, and how a sweep names them."""

from __future__ import annotations

import pytest

from itnas.errors import UserError
from itnas.optimizers import ALL_METHODS
from itnas.sweep import labels_of
from reproduce import common, nb201, oneshot1, s1_s4


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


def test_s1_to_s4_with_one_seed_by_default_and_their_own_evaluation() -> None:
    found = s1_s4.study(s1_s4.Settings())
    assert [(c.seed, c.space, c.method) for c in found] == [
        (0, f"s{number}", method) for number in (1, 2, 3, 4) for method in ALL_METHODS
    ]
    assert {type(c.evaluation).__name__ for c in found} == {"CellEvaluationConfig"}
    with pytest.raises(UserError, match="'nasbench201' is no space of this study"):
        s1_s4.study(s1_s4.Settings(spaces=("nasbench201",)))


def test_the_paper_preset_of_the_darts_spaces_is_the_published_one() -> None:
    configs = {c.method: c for c in s1_s4.study(s1_s4.Settings(preset="paper", spaces=("s2",)))}
    assert {c.epochs for name, c in configs.items() if name not in ("random", "rlnas")} == {50}
    assert configs["rlnas"].epochs == 250
    assert configs["rlnas"].optimizer.affine
    network, evaluation = configs["darts"].network, configs["darts"].evaluation
    assert (network.cells, network.channels, configs["darts"].batch_size) == (8, 16, 64)  # type: ignore[attr-defined]
    assert (evaluation.cells, evaluation.channels, evaluation.epochs) == (20, 36, 600)  # type: ignore[attr-defined]
    assert configs["darts-pt"].optimizer.tune_epochs_between == 5  # type: ignore[attr-defined]
    assert configs["darts-pt"].optimizer.criterion_images is None  # type: ignore[attr-defined]
    assert configs["darts"].data.split == "halves"
