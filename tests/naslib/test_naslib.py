"""NASLib itself: its Trainer, its graphs, its DARTS and its own tests. Runs where NASLib is installed or at NASLIB_PATH."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import sys
import unittest
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import tests.naslib.conftest as shared
from itnas.optimizers.darts_pt import DARTSPTConfig

pytestmark = pytest.mark.naslib
CLASSES = ("DARTSOptimizer", "DARTSPTOptimizer", "AGNASOptimizer", "ITNASOptimizer", "RLNASOptimizer")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ours() -> ModuleType:
    """``itnas.naslib`` on NASLib."""
    import itnas.naslib

    try:
        itnas.naslib.make_importable()
    except itnas.naslib.NASLibMissing as error:
        pytest.skip(str(error))
    return itnas.naslib


def make_config(folder: Path, side: int = 8, **search: Any) -> Any:
    config = shared.make_config(folder, **search)
    config.data = shared.LabelledImages(10, side)
    (folder / "search").mkdir(parents=True, exist_ok=True)
    return config


def loaders(config: Any) -> tuple[Any, Any, None]:
    """Return loaders with an uneven last batch."""
    return (*(DataLoader(config.data, config.search.batch_size, shuffle=True) for _ in range(2)), None)


def make(ours: ModuleType, name: str, config: Any, space: Any, seed: int = 1, **keywords: Any) -> Any:
    from naslib.utils import set_seed

    if name == "DARTSPTOptimizer":
        keywords = {"config": DARTSPTConfig(tune_epochs_between=1), **keywords}
    set_seed(seed)
    optimizer = getattr(ours, name)(remember=1, **keywords, **config.search)
    optimizer.adapt_search_space(space, config.dataset)
    return optimizer


def trainer_of(optimizer: Any, config: Any) -> Any:
    """Return NASLib's Trainer, unmodified; its loaders are replaced where it means them to be."""
    from naslib.defaults.trainer import Trainer

    trainer = Trainer(optimizer, config)
    trainer.build_search_dataloaders = loaders
    return trainer


def smaller(space: Any) -> Any:
    """Return NASLib's NAS-Bench-201 graph with one cell per stage."""
    from naslib.search_spaces.core.primitives import Identity

    for node in (*range(3, 7), *range(9, 13), *range(15, 19)):
        space.edges[node, node + 1].set("op", Identity())
    return space


class Search:
    """A finished search of NASLib's full NAS-Bench-201 graph."""

    def __init__(self, ours: ModuleType, name: str, folder: Path) -> None:
        from naslib.search_spaces import NasBench201SearchSpace

        self.config, self.space = make_config(folder), NasBench201SearchSpace(n_classes=12)
        self.before = fingerprint(self.space)
        self.optimizer = make(ours, name, self.config, self.space)
        self.trainer = trainer_of(self.optimizer, self.config)
        self.trainer.search()


def fingerprint(space: Any) -> list[tuple[str, float]]:
    """Return every primitive of a graph that is not adapted, with the sum of its weights."""
    lists = [op for graph in space._get_child_graphs() for _, _, data in graph.edges.data() for op in data.op]
    return [(op.get_op_name, sum(p.sum().item() for p in op.parameters())) for op in lists]


@pytest.fixture(scope="module")
def search_of(ours: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Search]:
    return cache(lambda name: Search(ours, name, tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize("name", CLASSES)
def test_searches_derives_and_evaluates_nasbench201(
    name: str, ours: ModuleType, search_of: Callable[[str], Search]
) -> None:
    from naslib.search_spaces.core.query_metrics import Metric

    search = search_of(name)
    folder = Path(search.config.save)
    errors = json.loads((folder / "errors.json").read_text())
    assert [len(errors[key]) for key in ("train_loss", "valid_loss", "train_acc", "valid_acc")] == [2] * 4
    assert {path.name for path in (folder / "search").iterdir()} >= {"model_final.pth", "last_checkpoint"}
    architecture = search.optimizer.get_final_architecture()
    genotype = ours.genotype_of(architecture)
    api = {"nb201_data": {genotype: {"cifar10-valid": {"eval_acc1es": [1.0, 45.5]}}}}
    assert search.trainer.evaluate(dataset_api=api, metric=Metric.VAL_ACCURACY) == 45.5
    assert fingerprint(search.space) == search.before
    state = {key: value.clone() for key, value in search.optimizer.graph.state_dict().items()}
    assert search.optimizer.get_final_architecture().get_hash() == architecture.get_hash()
    assert all(torch.equal(value, state[key]) for key, value in search.optimizer.graph.state_dict().items())
    assert architecture(torch.randn(2, 3, 8, 8)).shape == (2, 12)
    assert architecture.num_classes == 12
    primitives = [data.op for graph in architecture._get_child_graphs() for _, _, data in graph.edges.data()]
    assert len(primitives) == 15 * 6
    assert all(op.get_embedded_ops() is None for op in primitives)


@pytest.mark.data
def test_trainer_evaluates_from_our_table(
    ours: ModuleType, search_of: Callable[[str], Search], data_root: Path
) -> None:
    from itnas.benchmarks import NASBench201Table

    table, search = NASBench201Table.open(data_root), search_of("DARTSOptimizer")
    genotype = ours.genotype_of(search.optimizer.get_final_architecture())
    expected = table.lookup(genotype, dataset="cifar10", split="test", epochs=200, seed="mean")
    assert search.trainer.evaluate(dataset_api=table) == expected


def test_a_new_process_derives_the_same_architectures(
    ours: ModuleType, search_of: Callable[[str], Search], tmp_path: Path
) -> None:
    """One process for all classes: another seed, NASLib's checkpoints, no data."""
    saved = {name: search_of(name).config.save for name in CLASSES}
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import torch
torch.set_num_threads(1)
from tests.naslib import test_naslib as t
from pathlib import Path
import itnas.naslib as ours
ours.make_importable()
from naslib.search_spaces import NasBench201SearchSpace
for name, folder in {saved!r}.items():
    config = t.make_config(Path(folder))
    optimizer = t.make(ours, name, config, NasBench201SearchSpace(n_classes=12), seed=77)
    optimizer.before_training()
    t.trainer_of(optimizer, config)._setup_checkpointers(folder + "/search/model_final.pth")
    print("derived", name, *optimizer.get_final_architecture().get_hash())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    lines = [line.split()[1:] for line in run.stdout.splitlines() if line.startswith("derived")]
    expected = {
        name: [str(i) for i in search_of(name).optimizer.get_final_architecture().get_hash()] for name in CLASSES
    }
    assert {name: indices for name, *indices in lines} == expected


@pytest.mark.timeout(1800)  # DARTS-PT decides 28 edges by eight maskings each, then the inputs
@pytest.mark.parametrize("name", CLASSES)
def test_searches_and_derives_on_the_darts_space(name: str, ours: ModuleType, tmp_path: Path) -> None:
    from naslib.search_spaces import NasBench301SearchSpace

    config = make_config(tmp_path, epochs=1, batch_size=2)
    config.data.images, config.data.targets = config.data.images[:3], config.data.targets[:3]
    optimizer = make(ours, name, config, NasBench301SearchSpace())
    trainer_of(optimizer, config).search()
    architecture = optimizer.get_final_architecture()
    for cell in architecture.get_hash():
        inputs = [source for source, _ in cell]
        assert len(inputs) == 8
        assert all(inputs[2 * node] != inputs[2 * node + 1] < node + 2 for node in range(4))
    names = [
        data.op.get_op_name
        for graph in architecture._get_child_graphs()
        for _, _, data in graph.edges.data()
        if not data.is_final()
    ]
    assert len(names) == 8 * 8
    assert "Zero" not in names
    assert architecture.get_hash() == optimizer.get_final_architecture().get_hash()
    genotype, again = ours.genotype_of(architecture), NasBench301SearchSpace()
    ours.set_genotype(again, genotype)
    assert ours.genotype_of(again) == genotype == optimizer.method.space.canonical(genotype)
    assert architecture(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    other = make(ours, name, config, NasBench301SearchSpace(), seed=77)
    other.before_training()
    trainer_of(other, config)._setup_checkpointers(str(tmp_path / "search" / "model_final.pth"))
    assert other.get_final_architecture().get_hash() == architecture.get_hash()


def test_a_darts_step_equals_naslibs(ours: ModuleType, tmp_path: Path) -> None:
    """From the same seed both start with the same weights and alphas, and stay together for three steps."""
    from naslib.optimizers import DARTSOptimizer
    from naslib.search_spaces import NasBench201SearchSpace
    from naslib.utils import set_seed

    config = make_config(tmp_path)
    space = smaller(NasBench201SearchSpace())
    both = []
    for maker in (DARTSOptimizer, ours.DARTSOptimizer):
        set_seed(4)
        optimizer = maker(**config.search)
        optimizer.adapt_search_space(space, config.dataset)
        optimizer.before_training()
        both.append(optimizer)
    theirs, mine = both
    assert_close(theirs.architectural_weights, mine.architectural_weights, 0)
    torch.manual_seed(0)
    for _ in range(3):
        train, valid = ((torch.randn(n, 3, 8, 8), torch.randint(10, (n,))) for n in (6, 5))
        results = [optimizer.step(train, valid) for optimizer in both]
        assert_close(*results, 1e-5)
        assert_close(theirs.architectural_weights, mine.architectural_weights, 1e-5)
        assert_close(weights_of(theirs.graph), weights_of(mine.graph), 1e-5)
    derived = [optimizer.get_final_architecture().get_hash() for optimizer in both]
    assert derived[0] == derived[1]


def weights_of(graph: Any) -> list[torch.Tensor]:
    """Return weights and running statistics, sorted so that names of modules do not matter."""
    tensors = [t for key, t in graph.state_dict().items() if "mixing" not in key and "itnas" not in key]
    return [t.float() for t in tensors]


def assert_close(one: Any, other: Any, tolerance: float) -> None:
    pairs = list(zip(one, other, strict=True))
    assert pairs
    for x, y in pairs:
        torch.testing.assert_close(x.detach(), y.detach(), rtol=0, atol=tolerance)


def chain(n_candidates: int = 3, useful: int = 1) -> Any:
    """Return a NASLib graph with one searched edge: one operation passes the signal, the others return noise."""
    from naslib.search_spaces.core import primitives as ops
    from naslib.search_spaces.core.graph import Graph

    class Signal(ops.AbstractPrimitive):
        def __init__(self, number: int) -> None:
            super().__init__({"C_out": 16})
            self.useful, self.label = number == useful, f"candidate-{number}"

        def forward(self, x: torch.Tensor, edge_data: Any = None) -> torch.Tensor:
            return x if self.useful else torch.randn_like(x)

        def get_embedded_ops(self) -> None:
            return None

        @property
        def get_op_name(self) -> str:
            return self.label

    cell = Graph("cell", "stage_1")
    cell.add_nodes_from([1, 2])
    cell.add_edges_densly()
    cell.edges[1, 2].set("op", [Signal(number) for number in range(n_candidates)])
    graph = Graph("macro")
    graph.add_nodes_from([1, 2, 3, 4])
    graph.add_edges_from([(1, 2), (2, 3), (3, 4)])
    graph.edges[1, 2].set("op", ops.ReLUConvBN(3, 16, kernel_size=1))
    graph.edges[2, 3].set("op", cell)
    head = ops.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 6))
    graph.edges[3, 4].set("op", head)
    return graph


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "RLNASOptimizer"])
@pytest.mark.parametrize("useful", [0, 2])
def test_the_planted_operation_is_chosen(name: str, useful: int, ours: ModuleType, tmp_path: Path) -> None:
    config = make_config(tmp_path, epochs=1, arch_learning_rate=0.05)
    graph = chain(useful=useful)
    optimizer = make(ours, name, config, graph)
    optimizer.before_training()
    optimizer.new_epoch(0)
    for _ in range(60):
        labels = torch.randint(6, (2, 16))
        images = torch.nn.functional.one_hot(labels // 2, 3).float() * (1 + labels % 2)[..., None]
        images = images[..., None, None] + 0.1 * torch.randn(2, 16, 3, 4, 4)
        optimizer.step((images[0], labels[0]), (images[1], labels[1]))
    final = optimizer.get_final_architecture()
    assert final.edges[2, 3].op.edges[1, 2].op.label == f"candidate-{useful}"


def test_rlnas_chooses_the_operations_whose_weights_turned(ours: ModuleType, tmp_path: Path) -> None:
    from naslib.search_spaces import NasBench201SearchSpace

    config = make_config(tmp_path)
    optimizer = make(ours, "RLNASOptimizer", config, smaller(NasBench201SearchSpace()))
    optimizer.before_training()
    images = torch.randn(4, 3, 8, 8), torch.randint(10, (4,))
    optimizer.step(images, images)
    planted = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|nor_conv_1x1~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    space = optimizer.method.space
    with torch.no_grad():
        for cell in optimizer.supernet.supercells:
            for edge, (candidate,) in zip(cell.edges, space.chosen(planted)["edges"], strict=True):
                site = edge.mixing.site
                (candidate,) = space.chosen(planted)["edges"][site.choices[0]]
                for weight in edge.weight_tensors(candidate):
                    weight.copy_(-weight)
    optimizer.saved.trained += 1
    assert ours.genotype_of(optimizer.get_final_architecture()) == planted


def naslib_tests() -> list[tuple[str, str]]:
    """Return (file, class) of NASLib's tests of its DARTS."""
    return [
        ("test_darts_search_space", "DartsDartsIntegrationTest"),
        ("test_darts_search_space", "NasBench301SearchSpaceTest"),
        ("test_darts_search_space", "DartsConversionsTest"),
        ("test_simple_cell_search_space", "SimpleCellDartsIntegrationTest"),
        ("test_hierarchical_search_space", "HierarchicalDartsIntegrationTest"),
    ]


@pytest.mark.timeout(900)  # the hierarchical space alone takes minutes on one loaded core
@pytest.mark.parametrize(("file", "case"), naslib_tests())
def test_naslibs_own_tests_fail_only_where_naslibs_darts_fails(
    file: str, case: str, ours: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import naslib
    from naslib import utils

    path = Path(inspect.getfile(naslib)).parents[1] / "tests" / f"{file}.py"
    if not path.is_file():
        pytest.skip(f"NASLib was installed without its tests ({path})")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(utils, "get_project_root", lambda: tmp_path / "naslib")  # they log beside it
    spec = importlib.util.spec_from_file_location(f"naslib_{file}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    failures = []
    for optimizer in (module.DARTSOptimizer, ours.DARTSOptimizer):
        monkeypatch.setattr(module, "DARTSOptimizer", optimizer)
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(getattr(module, case)).run(result)
        assert result.testsRun
        failures.append({test.id(): trace for test, trace in [*result.failures, *result.errors]})
    theirs, mine = failures
    print(f"{case}: NASLib's DARTS fails {sorted(theirs)}, ours {sorted(mine)}")
    assert set(mine) <= set(theirs), "\n".join(mine[test] for test in set(mine) - set(theirs))


def test_our_class_behaves_as_a_naslib_optimizer(ours: ModuleType, tmp_path: Path) -> None:
    from naslib.optimizers.core.metaclasses import MetaOptimizer

    for name in CLASSES:
        assert issubclass(getattr(ours, name), MetaOptimizer)
        assert not getattr(ours, name).__abstractmethods__


def test_the_oneshot_model_is_evaluated(ours: ModuleType, tmp_path: Path) -> None:
    from naslib.search_spaces import NasBench201SearchSpace

    config = make_config(tmp_path, epochs=1)
    optimizer = make(ours, "RLNASOptimizer", config, smaller(NasBench201SearchSpace()))
    trainer = trainer_of(optimizer, config)
    trainer.search()
    initial = [tensor.clone() for tensor in optimizer.initial.buffers()]
    assert 0 <= trainer.evaluate_oneshot() <= 100
    assert all(torch.equal(x, y) for x, y in zip(initial, optimizer.initial.buffers(), strict=True))


def test_everything_is_repaired_once(ours: ModuleType) -> None:
    assert ours.make_importable() == []


def test_the_readmes_example_runs(
    ours: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from naslib.defaults.trainer import Trainer

    text = (ROOT / "README.md").read_text()
    (block,) = [part for part in re.findall(r"```python\n(.*?)```", text, re.S) if "make_importable()" in part]
    data = shared.LabelledImages(6, 8)
    tiny = (*(DataLoader(data, 4, shuffle=True) for _ in range(2)), None)
    monkeypatch.setattr(Trainer, "build_search_dataloaders", staticmethod(lambda config: tiny))
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace('"50"', '"1"'), "README.md", "exec"), {})
    lines = [line for line in capsys.readouterr().out.splitlines() if "|" in line]
    assert [line.split()[0] for line in lines] == ["DARTSOptimizer", "ITNASOptimizer"]
    assert all(line.count("~") == 6 for line in lines)
