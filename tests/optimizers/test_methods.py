"""What holds for every method, whoever wrote it."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from itnas.config import make_config
from itnas.optimizers import METHODS
from itnas.records import TABLES, read_meta
from itnas.search import Place, run_search
from itnas.spaces import get_space

ALL = tuple(METHODS)
SPACE = get_space("nasbench201")
BILEVEL = {"darts", "darts-2nd", "darts-pt"}


@pytest.mark.parametrize("method", ALL)
def test_a_step_changes_what_it_should_and_nothing_else(method: str, prepare: Callable) -> None:
    optimizer, train, valid = prepare(method)
    if method == "random":
        assert not list(optimizer.graph.parameters())
        return
    before = {name: value.clone() for name, value in optimizer.graph.state_dict().items()}
    optimizer.graph.train()
    logits, logits_val, loss, loss_val = optimizer.step(next(iter(train)), valid.sample())
    after = optimizer.graph.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    alphas = {name for name in before if name.endswith("alphas.logits")}
    assert logits.shape == (16, 10)
    assert not logits.requires_grad
    assert not loss.requires_grad
    assert bool(alphas & changed) == (method in BILEVEL)
    assert not any(name.endswith("alphas.fixed") for name in changed)
    assert (logits_val is not None) == (method in BILEVEL) == (loss_val is not None)
    assert "classifier.weight" in changed
    assert any("running_mean" in name for name in changed)
    if method == "rlnas":  # exactly the sampled path trains; the parameters of other candidates rest
        resting = [n for n in before if ".convs." in n and n.endswith("conv.weight") and n not in changed]
        assert len(changed) < len(before)
        assert isinstance(resting, list)
    else:
        assert {n for n in before if n.endswith("conv.weight")} <= changed


@pytest.mark.parametrize("method", ALL)
def test_scores_have_the_spaces_shape(method: str, prepare: Callable) -> None:
    optimizer, _, valid = prepare(method)
    optimizer.validate(valid)
    scores = optimizer.scores()
    assert {group: array.shape for group, array in scores.items()} == {"edges": (6, 5)}
    assert np.isfinite(scores["edges"]).all()
    for cells in optimizer.cell_scores().values():
        assert cells.shape == (3, 6, 5)
        assert np.allclose(cells.mean(0), scores["edges"])


@pytest.mark.parametrize("method", ALL)
def test_selection_is_three_legal_genotypes_and_follows_the_rule(method: str, prepare: Callable) -> None:
    optimizer, train, valid = prepare(method)
    optimizer.train_epoch(train, valid) if method != "random" else None
    optimizer.validate(valid)
    selection = optimizer.select(train, valid)
    for genotype in (selection.genotype, selection.genotype_with_none, selection.genotype_without_none):
        assert SPACE.canonical(genotype) == genotype
    assert "none" not in SPACE.operations(selection.genotype_without_none)
    own = selection.genotype_without_none if optimizer.config.exclude_none else selection.genotype_with_none
    assert selection.genotype == own
    assert selection.scores["edges"].shape == (6, 5)


def test_agnas_and_it_nas_exclude_none_by_their_own_rule_and_the_others_do_not() -> None:
    assert {name for name, (_, config) in METHODS.items() if config.exclude_none} == {"agnas", "it-nas"}


@pytest.mark.parametrize("method", [name for name in ALL if name != "random"])
def test_state_round_trips(method: str, prepare: Callable) -> None:
    """A copy that loads the checkpointed state takes exactly the same next step."""
    optimizer, train, valid = prepare(method)
    optimizer.train_epoch(train, valid)
    buffer = io.BytesIO()
    torch.save({name: part.state_dict() for name, part in optimizer.get_checkpointables().items()}, buffer)
    other, _, _ = prepare(method, seed=7)
    buffer.seek(0)
    for name, state in torch.load(buffer, weights_only=False).items():
        other.get_checkpointables()[name].load_state_dict(state)
    other.generator.set_state(optimizer.generator.get_state())
    batch, batch_val = next(iter(train)), valid.sample()
    other.generator.set_state(optimizer.generator.get_state())
    results = [model.step(copy.deepcopy(batch), batch_val) for model in (optimizer, other)]
    assert torch.equal(results[0][0], results[1][0])
    for a, b in zip(optimizer.graph.state_dict().values(), other.graph.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for model in (optimizer, other):
        model.validate(valid)
    assert np.array_equal(optimizer.scores()["edges"], other.scores()["edges"])


@pytest.mark.parametrize("method", [name for name in ALL if name not in ("random", "rlnas")])
def test_gradients_reach_every_parameter(method: str, prepare: Callable) -> None:
    optimizer, train, _ = prepare(method)
    images, labels = next(iter(train))
    torch.nn.functional.cross_entropy(optimizer.graph(images), labels).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in optimizer.graph.parameters())


def tiny(method: str) -> object:
    """Return a search of a second or two."""
    config = make_config("nasbench201", method, "digits", 3, smoke=True)
    small = replace(config.discretization, max_images=20, recalibration_images=20)
    return replace(config, discretization=small, score_images=20, batch_size=256)


@pytest.mark.parametrize("method", ALL)
def test_the_same_seed_gives_the_same_records_twice(method: str, tmp_path: Path) -> None:
    folders = [run_search(tiny(method), Place(tmp_path / name)) for name in ("a", "b")]  # type: ignore[arg-type]
    metas = [read_meta(folder) for folder in folders]
    for table in TABLES:
        files = [folder / f"{table}.parquet" for folder in folders]
        assert all(file.exists() for file in files)
        if table != "timing":
            assert files[0].read_bytes() == files[1].read_bytes(), table
    for section in set(metas[0]) - {"cost", "environment"}:
        assert metas[0][section] == metas[1][section], section
    assert metas[0]["status"] == "finished"
