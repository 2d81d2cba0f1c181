"""Every class goes through what NASLib's Trainer does with an optimizer, in its order; NASLib itself is not needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from itnas.optimizers.darts_pt import DARTSPTConfig
from itnas.spaces.nasbench201 import OPERATIONS, parse
from tests.naslib import stand_in
from tests.naslib.conftest import make_config

CLASSES = ("DARTSOptimizer", "DARTSPTOptimizer", "AGNASOptimizer", "ITNASOptimizer", "RLNASOptimizer")
EPOCHS, BATCHES = 2, 3


def make(itnas_naslib: ModuleType, name: str, config: Any, space: Any = None, seed: int = 1, **keywords: Any) -> Any:
    """Return an optimizer that has adapted a search space, as a NASLib script makes it."""
    if name == "DARTSPTOptimizer":
        keywords = {"config": DARTSPTConfig(tune_epochs_between=1), "remember": 1, **keywords}
    torch.manual_seed(seed)
    space = space or stand_in.NasBench201SearchSpace()
    optimizer = getattr(itnas_naslib, name)(**keywords, **config.search)
    optimizer.adapt_search_space(space, config.dataset)
    return optimizer


def searched(itnas_naslib: ModuleType, name: str, folder: Path, **keywords: Any) -> tuple[Any, stand_in.Trainer]:
    config = make_config(folder)
    optimizer = make(itnas_naslib, name, config, **keywords)
    trainer = stand_in.Trainer(optimizer, config)
    trainer.search()
    return optimizer, trainer


class Search:
    """A finished search, and the space it was given as it was before."""

    def __init__(self, itnas_naslib: ModuleType, name: str, folder: Path) -> None:
        torch.manual_seed(1)
        self.space = stand_in.NasBench201SearchSpace()
        self.weights = [p.clone() for p in self.space_weights()]
        self.optimizer, self.trainer = searched(itnas_naslib, name, folder, space=self.space)

    def space_weights(self) -> list[torch.Tensor]:
        lists = [data.op for cell in self.space.children_graphs() for data in cell.edges.values()]
        return [p for primitives in lists for primitive in primitives for p in primitive.parameters()]


@pytest.fixture(scope="module")
def search_of(stand_in_naslib: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Search]:
    return cache(lambda name: Search(stand_in_naslib, name, tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize("name", CLASSES)
def test_the_trainers_calls_in_its_order(name: str, search_of: Callable[[str], Search]) -> None:
    optimizer, trainer = search_of(name).optimizer, search_of(name).trainer
    epoch = ["new_epoch", *["step"] * BATCHES, "get_checkpointables", "test_statistics"]
    order = ["get_model_size", "before_training", *epoch * EPOCHS, "after_training"]
    assert trainer.calls[: len(order)] == order
    assert all(loss == loss for loss in trainer.errors["train_loss"] + trainer.errors["valid_loss"])
    indices = optimizer.get_final_architecture().get_hash()
    assert trainer.evaluate(dataset_api={indices: 12.5}) == 12.5
    rows = [tuple(weights.shape) for weights in trainer.arch_weights]
    assert rows == ([(EPOCHS * BATCHES, 5)] * 6 if name.startswith("DARTS") else [])


@pytest.mark.parametrize("name", CLASSES)
def test_the_space_and_the_supernet_stay_as_they_were(name: str, search_of: Callable[[str], Search]) -> None:
    search, graph = search_of(name), search_of(name).optimizer.graph
    assert not search.space.is_parsed
    assert all(torch.equal(x, y) for x, y in zip(search.weights, search.space_weights(), strict=True))
    state = {key: value.clone() for key, value in graph.state_dict().items()}
    training, modules = graph.training, len(list(graph.modules()))
    first, second = (search.optimizer.get_final_architecture() for _ in range(2))
    assert first.get_hash() == second.get_hash()
    assert first.num_classes == search.space.num_classes == 12
    assert first(torch.randn(3, 3, 6, 6)).shape == (3, 12)
    assert all(torch.equal(value, state[key]) for key, value in graph.state_dict().items())
    assert (graph.training, len(list(graph.modules()))) == (training, modules)


@pytest.mark.parametrize("name", CLASSES)
def test_another_process_derives_the_same_from_the_checkpoint(
    name: str, stand_in_naslib: ModuleType, search_of: Callable[[str], Search]
) -> None:
    search = search_of(name)
    other = make(stand_in_naslib, name, search.trainer.config, seed=99)
    other.before_training()
    stand_in.Trainer(other, search.trainer.config).load(Path(search.trainer.config.save) / "model_final.pth")
    derived = [optimizer.get_final_architecture().get_hash() for optimizer in (search.optimizer, other)]
    assert derived[0] == derived[1]


@pytest.mark.parametrize("name", CLASSES)
def test_the_same_seed_gives_the_same_search(
    name: str, stand_in_naslib: ModuleType, search_of: Callable[[str], Search], tmp_path: Path
) -> None:
    first, second = search_of(name), Search(stand_in_naslib, name, tmp_path)
    assert first.trainer.errors == second.trainer.errors
    derived = [search.optimizer.get_final_architecture().get_hash() for search in (first, second)]
    assert derived[0] == derived[1]


@pytest.mark.parametrize("name", CLASSES)
def test_a_resumed_search_goes_on_with_its_scores(name: str, stand_in_naslib: ModuleType, tmp_path: Path) -> None:
    """After loading a checkpoint, scores are those of the checkpoint; training on, they are measured again."""
    config = make_config(tmp_path, epochs=3)
    optimizer = make(stand_in_naslib, name, config)
    stand_in.Trainer(optimizer, config).search()
    other = make(stand_in_naslib, name, config, seed=5)
    trainer = stand_in.Trainer(other, config)
    trainer.search(resume_from=str(tmp_path / "model_1.pth"))
    assert trainer.calls.count("new_epoch") == 1
    assert int(other.saved.trained) == int(optimizer.saved.trained) == 3 * BATCHES
    assert other.saved.is_current()
    other.get_final_architecture().get_hash()
    if name == "RLNASOptimizer":
        assert all(torch.equal(x, y) for x, y in zip(other.initial.buffers(), optimizer.initial.buffers(), strict=True))


def test_the_selection_that_the_last_checkpoint_could_not_hold_is_kept(
    stand_in_naslib: ModuleType, tmp_path: Path
) -> None:
    """Without `epochs` the optimizer cannot know the last checkpoint; evaluating reloads one made before the selection."""
    config = make_config(tmp_path)
    optimizer = make(stand_in_naslib, "DARTSPTOptimizer", config)
    optimizer.epochs = None
    trainer = stand_in.Trainer(optimizer, config)
    trainer.search()
    selected = optimizer.get_final_architecture().get_hash()
    assert trainer.evaluate(dataset_api={selected: 1.0}) == 1.0
    assert not optimizer.saved.decided


def test_methods_without_scores_say_so(stand_in_naslib: ModuleType, tmp_path: Path) -> None:
    for name in ("AGNASOptimizer", "ITNASOptimizer", "RLNASOptimizer"):
        optimizer = make(stand_in_naslib, name, make_config(tmp_path))
        optimizer.before_training()
        optimizer.graph.state_dict()
        with pytest.raises(stand_in_naslib.NASLibMissing.__mro__[1], match=f"{name} has no scores yet"):
            optimizer.get_final_architecture()


def test_attention_methods_never_derive_none_and_the_alphas_written_say_why(
    stand_in_naslib: ModuleType, tmp_path: Path
) -> None:
    for name in ("AGNASOptimizer", "ITNASOptimizer"):
        optimizer, _ = searched(stand_in_naslib, name, tmp_path)
        scores = optimizer.current_scores()["edges"]
        assert (scores[:, OPERATIONS.index("none")] == -float("inf")).all()
        architecture = optimizer.get_final_architecture()
        assert 1 not in architecture.get_hash()
        genotype = stand_in_naslib.genotype_of(architecture)
        assert list(parse(genotype)) == scores.argmax(1).tolist()


def test_given_data_replace_the_remembered_batches(stand_in_naslib: ModuleType, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    optimizer = make(stand_in_naslib, "ITNASOptimizer", config, remember=2)
    train, valid, _ = stand_in.Trainer.build_search_dataloaders(config)
    for batch in train:
        optimizer.step(batch, batch)
    assert (len(optimizer.valid_data), len(optimizer.valid_data.images)) == (2, 4 + 2)
    optimizer.use_data(train, valid)
    optimizer.step(next(iter(train)), next(iter(valid)))
    assert len(optimizer.valid_data.images) == 10


def test_old_runners_hand_over_the_whole_configuration(stand_in_naslib: ModuleType, tmp_path: Path) -> None:
    config = make_config(tmp_path, unrolled=True, grad_clip=0)
    optimizer = stand_in_naslib.DARTSOptimizer(config)
    assert optimizer.config.order == 2
    assert optimizer.config.weights.grad_clip is None
    assert (optimizer.config.weights.lr, optimizer.config.alphas.lr) == (0.1, 0.02)
    optimizer.adapt_search_space(stand_in.NasBench201SearchSpace(), dataset_api=None)
    optimizer.before_training()
    batch = next(iter(stand_in.Trainer.build_search_dataloaders(config)[0]))
    assert torch.isfinite(optimizer.step(batch, batch)[3])
    own = replace(optimizer.config, exclude_none=True)
    assert stand_in_naslib.DARTSOptimizer(own, learning_rate=0.5).config.weights.lr == 0.5


def test_random_labels_are_uniform_fixed_and_shared_by_both_loaders(
    stand_in_naslib: ModuleType, tmp_path: Path
) -> None:
    config = make_config(tmp_path)
    images, true = config.data.images.clone(), list(config.data.targets)
    optimizer = make(stand_in_naslib, "RLNASOptimizer", config)
    trainer = stand_in_naslib.RandomLabelTrainer(optimizer, config)
    train, valid, _ = trainer.build_search_dataloaders(config)
    assert train.dataset is valid.dataset
    drawn = list(train.dataset.targets)
    assert drawn != true
    assert set(drawn) <= set(range(10))
    assert torch.equal(config.data.images, images)
    config.data.targets = true
    assert list(trainer.build_search_dataloaders(config)[0].dataset.targets) == drawn
    trainer.search()
    assert optimizer.get_final_architecture().get_hash()
