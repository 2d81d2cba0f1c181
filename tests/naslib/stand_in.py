"""A stand-in for NASLib: just enough graph to search, and a trainer that calls an optimizer as NASLib's Trainer does.

Written from the recorded interface (which member is called when, with what), not from NASLib's code; it lets the protocol be
tested where NASLib is not installed.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

CELL_EDGES = ((1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4))
OP_NAMES = ("Identity", "Zero", "ReLUConvBN3x3", "ReLUConvBN1x1", "AvgPool1x1")


class MetaOptimizer:
    """The base class's place; its methods are all overridden."""

    using_step_function = True


class AbstractPrimitive(nn.Module):
    """An operation on an edge."""

    def __init__(self, kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.init_params = dict(kwargs)


class Primitive(AbstractPrimitive):
    """One of NAS-Bench-201's operations by NASLib's name."""

    def __init__(self, name: str, channels: int) -> None:
        kernel = {"ReLUConvBN3x3": 3, "ReLUConvBN1x1": 1}.get(name)
        super().__init__({"C_out": channels} if kernel else {})
        self.get_op_name = name
        self.op: nn.Module = nn.Identity()
        if kernel:
            convolution = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
            self.op = nn.Sequential(
                nn.ReLU(), convolution, nn.BatchNorm2d(channels, affine=False, track_running_stats=False)
            )
        elif name == "AvgPool1x1":
            self.op = nn.AvgPool2d(3, 1, 1, count_include_pad=False)

    def forward(self, x: Tensor, edge_data: Any = None) -> Tensor:
        return x * 0.0 if self.get_op_name == "Zero" else self.op(x)

    def get_embedded_ops(self) -> None:
        return None


class Fixed(AbstractPrimitive):
    """Any module on an edge that is not searched."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__({})
        self.module = module

    def forward(self, x: Tensor, edge_data: Any = None) -> Tensor:
        return self.module(x)

    def get_embedded_ops(self) -> None:
        return None


class EdgeData:
    """What an edge holds; shared keys are one dictionary for all copies of a cell."""

    def __init__(self, op: Any, shared: dict[str, Any]) -> None:
        self.private: dict[str, Any] = {"op": op}
        self.shared = shared

    def __getattr__(self, key: str) -> Any:
        if key in ("private", "shared") or key.startswith("__"):
            raise AttributeError(key)
        return self.private[key] if key in self.private else self.shared[key]

    def has(self, key: str) -> bool:
        return key in self.private or key in self.shared

    def set(self, key: str, value: Any, shared: bool = False) -> None:
        assert key not in (self.private if shared else self.shared), "a key is shared or private for ever"
        (self.shared if shared else self.private)[key] = value

    def is_final(self) -> bool:
        return False


class Edges(dict[tuple[int, int], EdgeData]):
    def data(self) -> Iterator[tuple[int, int, EdgeData]]:
        for (u, v), data in self.items():
            yield u, v, data


class Graph(nn.Module):
    """Nodes that sum, edges that compute; cells are graphs on edges of the macro graph."""

    OPTIMIZER_SCOPE: Any = "all"
    QUERYABLE = False

    def __init__(self, name: str = "macro", scope: str | None = None) -> None:
        super().__init__()
        self.name, self.scope, self.is_parsed = name, scope, False
        self.nodes: dict[int, dict[str, Any]] = {}
        self.edges = Edges()
        self.graph: dict[str, Any] = {}

    def add(self, u: int, v: int, data: EdgeData) -> None:
        for node in (u, v):
            self.nodes.setdefault(node, {})
        self.edges[u, v] = data

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        inputs: dict[int, list[Tensor]] = {1: [x]}
        for node in sorted(self.nodes):
            value = torch.stack(inputs[node]).sum(0) if len(inputs[node]) > 1 else inputs[node][0]
            for u, v, data in self.edges.data():
                if u == node:
                    inputs.setdefault(v, []).append(data.op(value, data))
        self.graph["out_from_1"] = value * 1.0  # as NASLib's DARTS space keeps its auxiliary output: no leaf
        return value

    def clone(self) -> Graph:
        return copy.deepcopy(self)

    def children_graphs(self) -> list[Graph]:
        return [data.op for _, _, data in self.edges.data() if isinstance(data.op, Graph)]

    def parse(self) -> None:
        for u, v, data in self.edges.data():
            if isinstance(data.op, Graph):
                data.op.parse()
            assert not isinstance(data.op, list), "parsed before every choice has a module"
            self.add_module(f"edge({u},{v})", data.op)
        self.is_parsed = True

    def unparse(self) -> Graph:
        """Return a graph of the same nodes and edges; modules and other attributes are forgotten, as by NASLib."""
        new = type(self)(10) if isinstance(self, NasBench201SearchSpace) else Graph()
        new.name, new.scope, new.nodes, new.edges = self.name, self.scope, self.nodes, self.edges
        for _, _, data in new.edges.data():
            if isinstance(data.op, Graph):
                data.set("op", data.op.unparse())
        return new

    def update_edges(self, update_func: Any, scope: Any = "all", private_edge_data: bool = False) -> None:
        seen: set[str] = set()
        for graph in [*self.children_graphs(), self]:
            if not private_edge_data and graph.name in seen:
                continue
            seen.add(graph.name)
            if scope == "all" or graph.scope in scope:
                for u, v, data in graph.edges.data():
                    update_func(edge=SimpleNamespace(head=u, tail=v, data=data))

    def prepare_discretization(self) -> None: ...

    def prepare_evaluation(self) -> None: ...


class NasBench201SearchSpace(Graph):
    """Stem, a cell in each of two stages, classifier; edges and operations in NASLib's orders."""

    OPTIMIZER_SCOPE = ("stage_1", "stage_2")
    QUERYABLE = True

    def __init__(self, n_classes: int = 12, channels: int = 4) -> None:
        super().__init__()
        self.num_classes, self.channels = n_classes, channels
        stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.add(1, 2, EdgeData(Fixed(stem), {}))
        shared: dict[tuple[int, int], dict[str, Any]] = {edge: {} for edge in CELL_EDGES}
        for place, scope in ((2, "stage_1"), (3, "stage_2")):
            cell = Graph("cell", scope)
            for u, v in CELL_EDGES:
                cell.add(u, v, EdgeData([Primitive(name, channels) for name in OP_NAMES], shared[u, v]))
            self.add(place, place + 1, EdgeData(cell, {}))
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_classes))
        self.add(4, 5, EdgeData(Fixed(head), {}))

    def get_type(self) -> str:
        return "nasbench201"

    def get_hash(self) -> tuple[int, ...]:
        cell = self.edges[2, 3].op
        return tuple(OP_NAMES.index(cell.edges[edge].op.get_op_name) for edge in CELL_EDGES)

    def set_spec(self, indices: tuple[int, ...]) -> None:
        for cell in self.children_graphs():
            for edge, index in zip(CELL_EDGES, indices, strict=True):
                cell.edges[edge].set("op", cell.edges[edge].op[index])

    def query(self, metric: Any = None, dataset: str | None = None, dataset_api: Any = None) -> float:
        if dataset_api is None:
            raise NotImplementedError
        return dataset_api[self.get_hash()]


class Trainer:
    """Calls an optimizer with what NASLib's Trainer calls, in its order, and complains where that one would break."""

    def __init__(self, optimizer: Any, config: Any) -> None:
        self.optimizer, self.config, self.calls = optimizer, config, []
        self.errors: dict[str, Any] = {"train_loss": [], "valid_loss": [], "params": self.call("get_model_size")}

    def call(self, name: str, *arguments: Any) -> Any:
        self.calls.append(name)
        return getattr(self.optimizer, name)(*arguments)

    def search(self, resume_from: str = "") -> None:
        search, save = self.config.search, Path(self.config.save)
        np.random.seed(search.seed)  # noqa: NPY002 - as NASLib does
        torch.manual_seed(search.seed)
        self.call("before_training")
        assert self.optimizer.using_step_function
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer.op_optimizer, T_max=search.epochs, eta_min=search.learning_rate_min
        )
        start = self.load(resume_from) if resume_from else 0
        train_queue, valid_queue, _ = self.build_search_dataloaders(self.config)
        arch_weights: list[Tensor] = []
        for epoch in range(start, search.epochs):
            self.call("new_epoch", epoch)
            for data_train in train_queue:
                rows = [row.detach()[None] for row in self.optimizer.architectural_weights]
                arch_weights = (
                    [torch.cat(pair) for pair in zip(arch_weights or rows, rows, strict=True)] if arch_weights else rows
                )
                data_val = next(iter(valid_queue))
                logits_train, logits_val, train_loss, val_loss = self.call("step", data_train, data_val)
                for logits, batch in ((logits_train, data_train), (logits_val, data_val)):
                    assert len(logits) == len(batch[1])
                    logits.topk(5, 1)
                    assert not logits.requires_grad
                f"{train_loss:.5f} {val_loss:.5f} {scheduler.get_last_lr()}"
                self.errors["train_loss"].append(float(train_loss.detach().cpu()))
                self.errors["valid_loss"].append(float(val_loss.detach().cpu()))
            scheduler.step()
            self.save("model_final" if epoch == search.epochs - 1 else f"model_{epoch}", epoch)
            assert self.call("test_statistics") is None
            (save / "errors.json").write_text(json.dumps(self.errors))
        self.arch_weights = arch_weights
        self.call("after_training")

    def save(self, name: str, epoch: int) -> None:
        model = self.call("get_checkpointables").pop("model")
        assert isinstance(model, nn.Module)
        torch.save({"model": model.state_dict(), "iteration": epoch}, Path(self.config.save) / f"{name}.pth")

    def load(self, path: str | Path) -> int:
        model = self.call("get_checkpointables").pop("model")
        state = torch.load(path, weights_only=True)
        assert set(state["model"]) == set(model.state_dict())
        model.load_state_dict(state["model"], strict=False)
        return state["iteration"] + 1

    def evaluate(self, dataset_api: Any = None, metric: Any = None) -> float:
        self.load(Path(self.config.save) / "model_final.pth")
        architecture = self.call("get_final_architecture")
        architecture.get_hash()
        return architecture.query(metric=metric, dataset=self.config.dataset, dataset_api=dataset_api)

    @staticmethod
    def build_search_dataloaders(config: Any) -> tuple[Any, Any, Any]:
        return (
            DataLoader(config.data, config.search.batch_size, shuffle=True),
            DataLoader(config.data, config.search.batch_size, shuffle=True),
            None,
        )


def install(modules: dict[str, ModuleType] = sys.modules) -> None:
    """Put the stand-in where NASLib would be."""
    members = {
        "naslib": {},
        "naslib.utils": {"count_parameters_in_MB": lambda m: sum(p.numel() for p in m.parameters()) / 1e6},
        "naslib.optimizers": {},
        "naslib.optimizers.core": {},
        "naslib.optimizers.core.metaclasses": {"MetaOptimizer": MetaOptimizer},
        "naslib.search_spaces": {},
        "naslib.search_spaces.core": {},
        "naslib.search_spaces.core.primitives": {"AbstractPrimitive": AbstractPrimitive},
        "naslib.defaults": {},
        "naslib.defaults.trainer": {"Trainer": Trainer},
    }
    for name, contents in members.items():
        modules[name] = ModuleType(name)
        vars(modules[name]).update(__path__=[], **contents)
