"""Ranking of architectures: which, with what weights, without a trace; and the methods' own scores of architectures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from itnas.config import RankingConfig
from itnas.data.images import DatasetInfo, ImageSet, Loader
from itnas.errors import UserError
from itnas.nn.networks import NetworkConfig
from itnas.optimizers import default_config
from itnas.optimizers.agnas import AGNAS
from itnas.optimizers.angles import angles_of
from itnas.optimizers.base import Optimizer, evaluate
from itnas.optimizers.darts import DARTS, DARTSConfig
from itnas.optimizers.random_search import RandomSearch
from itnas.optimizers.rlnas import RLNAS
from itnas.ranking import kept_choices, rank_architectures, subset, supernet_accuracies
from itnas.spaces import SPACES, SearchSpace, get_space

INFO = DatasetInfo("tiny", 3, 1)
SPACE = get_space("nasbench201")


def loader(n: int = 24) -> Loader:
    generator = torch.Generator().manual_seed(5)
    images, labels = torch.randn(n, 1, 8, 8, generator=generator), torch.randint(3, (n,), generator=generator)
    part = ImageSet(images, labels, lambda x, _: x, lambda x: x)
    return Loader(part, INFO, 8, generator, "cpu")


def trained(kind: type[Optimizer], method: str) -> Optimizer:
    """A small NAS-Bench-201 supernet after a few steps."""
    torch.manual_seed(0)
    optimizer = kind(default_config(method), NetworkConfig(channels=4, cells_per_stage=1))
    optimizer.adapt_search_space(SPACE, INFO)
    optimizer.before_training()
    train, valid = optimizer.prepare_data(loader(), loader(), torch.Generator().manual_seed(1))
    for _ in range(3):
        optimizer.train_epoch(train, valid)
    return optimizer


@pytest.fixture(scope="module")
def darts() -> DARTS:
    optimizer = trained(DARTS, "darts")
    assert isinstance(optimizer, DARTS)
    with torch.no_grad():
        optimizer.alphas["edges"].logits.normal_(generator=torch.Generator().manual_seed(2))
    return optimizer


def test_the_subset_is_fixed_and_without_repetition() -> None:
    genotypes = subset(SPACE, RankingConfig(200))
    assert len(set(genotypes)) == 200
    assert genotypes == subset(SPACE, RankingConfig(200))
    assert genotypes[:50] == subset(SPACE, RankingConfig(50))
    assert genotypes != subset(SPACE, RankingConfig(200, seed=1))


@pytest.mark.parametrize("space", [get_space(name) for name in SPACES], ids=list(SPACES))
def test_every_space_has_a_subset_that_a_supernet_can_keep(space: SearchSpace) -> None:
    for genotype in subset(space, RankingConfig(20)):
        assert space.canonical(genotype) == genotype
        kept = kept_choices(space, genotype)
        assert {group: len(choices) for group, choices in kept.items()} == {g: len(c) for g, c in space.groups.items()}


def test_all_architectures_of_a_space_that_can_be_listed() -> None:
    assert len(set(subset(SPACE, RankingConfig("all")))) == 15_625
    cells = subset(get_space("nasbench1shot1-1"), RankingConfig("all"))
    assert len(set(cells)) == 3_702
    assert all(get_space("nasbench1shot1-1").canonical(cell) == cell for cell in cells[::97])


def test_a_space_smaller_than_the_subset_gives_what_it_has() -> None:
    three = subset(SPACE, RankingConfig(3))

    class Small(type(SPACE)):
        def random(self, rng: np.random.Generator, *, exclude_none: bool) -> str:
            return three[rng.integers(3)]

    assert len(subset(Small(), RankingConfig(10))) == 3


def test_a_space_that_cannot_be_listed_says_so() -> None:
    class Large(type(SPACE)):
        genotypes = SearchSpace.genotypes

    with pytest.raises(UserError, match="too many architectures to list"):
        subset(Large(), RankingConfig("all"))


def test_the_accuracy_is_that_of_the_supernet_with_one_hot_mixing_weights(darts: DARTS) -> None:
    genotypes = subset(SPACE, RankingConfig(6))
    config = RankingConfig(bn="eval", max_images=100)
    quiet: Any = lambda phase, done, total: None  # noqa: E731
    found, n_images = supernet_accuracies(darts.graph, SPACE, genotypes, loader(), loader(), config, quiet)
    assert n_images == 24
    alphas = darts.alphas["edges"]
    for genotype, accuracy in zip(genotypes, found, strict=True):
        for edge, kept in enumerate(SPACE.chosen(genotype)["edges"]):
            alphas.decide(edge, kept)
        expected = evaluate(darts.graph, loader())[1]
        alphas.decided[:] = False
        assert accuracy == pytest.approx(expected)
    assert len(set(found)) > 1


@pytest.mark.parametrize("bn", ["recalib", "eval", "train"])
def test_nothing_is_left_behind(darts: DARTS, bn: Any) -> None:
    darts.graph.train()
    before = {name: value.clone() for name, value in darts.graph.state_dict().items()}
    state = torch.get_rng_state()
    config = RankingConfig(3, bn=bn, max_images=16, recalibration_images=16)
    seen: list[tuple[str, int, int]] = []
    rows = rank_architectures(darts, loader(), loader(), config, None, lambda *now: seen.append(now))
    assert {(row["quantity"], row["n_images"]) for row in rows} == {("supernet", 16), ("score", None)}
    assert seen == [("ranking", 0, 3), ("ranking", 1, 3), ("ranking", 2, 3)]
    assert all(torch.equal(value, before[name]) for name, value in darts.graph.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert darts.graph.training
    again = rank_architectures(darts, loader(), loader(), config, None, lambda *now: None)
    assert rows == again


class Table:
    """A benchmark of one number."""

    name = "made-up"
    sha256 = "0"

    def evaluation_rows(self, archs: Iterable[str], /) -> list[dict[str, Any]]:
        return [
            {"genotype": arch, "dataset": "cifar10", "split": "test", "seed": seed, "value": float(len(arch))}
            for arch in archs
            for seed in ("mean", "777")
        ]

    def reference(self) -> dict[str, Any]:
        return {}


def test_the_table_adds_its_means(darts: DARTS) -> None:
    config = RankingConfig(4, max_images=8, recalibration_images=8)
    rows = rank_architectures(darts, loader(), loader(), config, Table(), lambda *now: None)  # pyright: ignore[reportArgumentType]
    means = [row for row in rows if row["quantity"] == "cifar10/test"]
    assert [row["genotype"] for row in means] == subset(SPACE, config)
    assert all(row["value"] == len(row["genotype"]) for row in means)


def test_the_score_is_the_sum_of_log_importance(darts: DARTS) -> None:
    (genotype,) = subset(SPACE, RankingConfig(1))
    weights = darts.scores()["edges"]
    product = np.prod([weights[edge, op] for edge, (op,) in enumerate(SPACE.chosen(genotype)["edges"])])
    assert darts.architecture_scores([genotype]) == pytest.approx(np.log([product]))


@pytest.mark.parametrize(("kind", "method"), [(DARTS, "darts"), (AGNAS, "agnas"), (RLNAS, "rlnas")])
def test_the_architecture_with_the_best_score_is_the_derived_one(kind: type[Optimizer], method: str) -> None:
    optimizer = trained(kind, method)
    optimizer.validate(loader())
    genotypes = SPACE.genotypes()
    scores = optimizer.architecture_scores(genotypes)
    assert scores is not None
    assert genotypes[int(scores.argmax())] == optimizer.derive(exclude_none=False)


@pytest.mark.parametrize("name", ["nasbench201", "nasbench1shot1-1", "nasbench1shot1-2", "nasbench1shot1-3"])
def test_rlnas_codes_an_architecture_and_back(name: str) -> None:
    space = get_space(name)
    angles = angles_of(space)
    for genotype in subset(space, RankingConfig(50)):
        assert angles.genotype(np.array(angles.code(space.chosen(genotype)))) == genotype


def test_random_search_has_no_score_and_its_derived_cell_is_its_draw() -> None:
    optimizer = RandomSearch(DARTSConfig())
    optimizer.adapt_search_space(SPACE, INFO)
    data = optimizer.prepare_data(loader(), loader(), torch.Generator().manual_seed(0))
    selection = optimizer.select(*data)
    assert optimizer.architecture_scores([selection.genotype]) is None
    assert optimizer.derive(exclude_none=False) == selection.genotype_with_none
    assert optimizer.derive(exclude_none=True) == selection.genotype_without_none
    assert "none" not in selection.genotype_without_none
