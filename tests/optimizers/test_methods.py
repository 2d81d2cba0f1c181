"""What holds for every method in every space, whoever wrote it."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from itnas.optimizers import METHODS
from itnas.optimizers.darts_pt import DARTSPT
from itnas.presets import make_config
from itnas.records import OPTIONAL, TABLES, read_meta
from itnas.search import Place, run_search
from itnas.spaces import SPACES, CellSpace, get_space

ALL = tuple(METHODS)
SPACES_TESTED = tuple(name for name in SPACES if name not in ("darts-no-none", "darts-stagewise"))
"""All but two whose supernet differs from that of `darts` in nothing but the table of candidates."""
BILEVEL = {"darts", "darts-2nd", "darts-pt"}


def everywhere(*without: str) -> pytest.MarkDecorator:
    """Every method in every space; variants of a method are left out in spaces that differ by their table only."""
    alike, variants = ("s1", "s3", "s4"), ("darts-2nd", "darts-pt-fix-alpha")
    pairs = [(method, space) for space in SPACES_TESTED for method in ALL if method not in without]
    return pytest.mark.parametrize(
        ("method", "space"), [(m, s) for m, s in pairs if not (s in alike and m in variants)]
    )


def differ(a: torch.Tensor, b: torch.Tensor) -> bool:
    return not torch.equal(a, b)


def shapes(space: str) -> dict[str, tuple[int, int]]:
    """Return the number of choices and candidates of every group."""
    return {group: (len(c), len(c[0].candidates)) for group, c in get_space(space).groups.items()}


@everywhere()
def test_a_step_changes_what_it_should_and_nothing_else(method: str, space: str, prepare: Callable) -> None:
    optimizer, train, valid = prepare(method, space=space)
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
        parts = optimizer.architectures.parts(optimizer.graph)
        moved = [part for part, ws in parts.items() if any(map(differ, optimizer.initial.parts[part], ws))]
        assert "fixed" in moved
        assert len(moved) < len(parts)
    else:
        assert {n for n in before if n.endswith("conv.weight")} <= changed


@everywhere()
def test_scores_have_the_spaces_shape(method: str, space: str, prepare: Callable) -> None:
    optimizer, _, valid = prepare(method, space=space)
    optimizer.validate(valid)
    scores, cells = optimizer.scores(), optimizer.cell_scores()
    assert {group: array.shape for group, array in scores.items()} == shapes(space)
    assert all(np.isfinite(array).all() for array in scores.values())
    assert set(cells) in (set(), set(scores))
    for group, array in cells.items():
        assert array.shape == (len(optimizer.graph.cells_of(group)), *shapes(space)[group])
        assert np.allclose(array.mean(0), scores[group])


@everywhere()
def test_selection_is_three_legal_genotypes_and_follows_the_rule(method: str, space: str, prepare: Callable) -> None:
    optimizer, train, valid = prepare(method, space=space)
    optimizer.train_epoch(train, valid) if method != "random" else None
    optimizer.validate(valid)
    if isinstance(optimizer, DARTSPT) and isinstance(get_space(space), CellSpace):  # hundreds of passes else
        optimizer.masked_accuracy = lambda *_: torch.rand(()).item()
    selection = optimizer.select(train, valid)
    for genotype in (selection.genotype, selection.genotype_with_none, selection.genotype_without_none):
        assert get_space(space).canonical(genotype) == genotype
    assert "none" not in get_space(space).operations(selection.genotype_without_none)
    own = selection.genotype_without_none if optimizer.config.exclude_none else selection.genotype_with_none
    assert selection.genotype == own
    assert {group: array.shape for group, array in selection.scores.items()} == shapes(space)


def test_agnas_and_it_nas_exclude_none_by_their_own_rule_and_the_others_do_not() -> None:
    assert {name for name, (_, config) in METHODS.items() if config.exclude_none} == {"agnas", "it-nas"}


@everywhere("random")
def test_state_round_trips(method: str, space: str, prepare: Callable) -> None:
    """A copy that loads the checkpointed state takes exactly the same next step."""
    optimizer, train, valid = prepare(method, space=space)
    optimizer.train_epoch(train, valid)
    buffer = io.BytesIO()
    torch.save({name: part.state_dict() for name, part in optimizer.get_checkpointables().items()}, buffer)
    other, _, _ = prepare(method, seed=7, space=space)
    buffer.seek(0)
    for name, state in torch.load(buffer, weights_only=False).items():
        other.get_checkpointables()[name].load_state_dict(state)
    other.generator.set_state(optimizer.generator.get_state())
    batch, batch_val = next(iter(train)), valid.sample()
    other.generator.set_state(optimizer.generator.get_state())
    results = []
    for model in (optimizer, other):
        torch.manual_seed(0)  # a search's checkpoint holds this generator too; `noise` draws from it
        results.append(model.step(copy.deepcopy(batch), batch_val))
    assert torch.equal(results[0][0], results[1][0])
    for a, b in zip(optimizer.graph.state_dict().values(), other.graph.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for model in (optimizer, other):
        torch.manual_seed(0)
        model.validate(valid)
    for group, array in optimizer.scores().items():
        assert np.array_equal(array, other.scores()[group])


@everywhere("random", "rlnas")
def test_gradients_reach_every_parameter(method: str, space: str, prepare: Callable) -> None:
    optimizer, train, _ = prepare(method, space=space)
    images, labels = next(iter(train))
    torch.nn.functional.cross_entropy(optimizer.graph(images), labels).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in optimizer.graph.parameters())


def tiny(method: str, space: str) -> object:
    """Return a search of a second or two."""
    config = make_config(space, method, "digits", 3, smoke=True)
    small = replace(config.discretization, max_images=20, recalibration_images=20)
    config = replace(config, discretization=small, score_images=20, batch_size=256, ranking=None, eigenvalues=None)
    if space == "s3":  # 28 choices in five cells: measured elsewhere
        config = replace(config, discretization=replace(small, enabled=False))
    if hasattr(config.optimizer, "criterion_images"):
        config = replace(config, optimizer=replace(config.optimizer, criterion_images=20))
    return config


@pytest.mark.parametrize(
    ("method", "space"),
    [(m, "nasbench201") for m in ALL]
    + [("it-nas", "nasbench1shot1-1"), ("rlnas", "nasbench1shot1-3"), ("agnas", "s3")],
)
def test_the_same_seed_gives_the_same_records_twice(method: str, space: str, tmp_path: Path) -> None:
    folders = [run_search(tiny(method, space), Place(tmp_path / name)) for name in ("a", "b")]  # type: ignore[arg-type]
    metas = [read_meta(folder) for folder in folders]
    for table in sorted(set(TABLES) - OPTIONAL):
        files = [folder / f"{table}.parquet" for folder in folders]
        assert all(file.exists() for file in files)
        if table != "timing":
            assert files[0].read_bytes() == files[1].read_bytes(), table
    for section in set(metas[0]) - {"cost", "environment"}:
        assert metas[0][section] == metas[1][section], section
    assert metas[0]["status"] == "finished"


@pytest.mark.parametrize("parents", ["alphas", "alphas-bilevel"])
@pytest.mark.parametrize("method", ["agnas", "it-nas"])
def test_parents_can_be_chosen_by_alphas(method: str, parents: str, prepare: Callable) -> None:
    """The attention methods with DARTS's parameters for parents: trained, shared by all cells, and scored as alphas."""
    optimizer, train, valid = prepare(method, space="nasbench1shot1-2", parents=parents)
    groups = {"input-2", "input-3", "input-4", "output"}
    before = {group: alphas.logits.detach().clone() for group, alphas in optimizer.parents.items()}
    assert set(before) == groups
    assert optimizer.reads_valid_batches == (parents == "alphas-bilevel")
    trained = {id(p) for group in optimizer.op_optimizer.param_groups for p in group["params"]}
    assert all((id(a.logits) in trained) == (parents == "alphas") for a in optimizer.parents.values())
    optimizer.train_epoch(train, valid)
    assert all(not torch.equal(before[group], optimizer.parents[group].logits) for group in groups)
    optimizer.validate(valid)
    for group, alphas in optimizer.parents.items():
        expected = alphas.weights().detach().double().numpy()
        assert np.allclose(optimizer.scores()[group], expected)
        assert all(np.allclose(cell, expected) for cell in optimizer.cell_scores()[group])
    assert {optimizer.kind_of(group) for group in groups} == {"alpha"}
    assert optimizer.kind_of("operations") == optimizer.score_kind
