"""DARTS-PT: its schedule, what a mask does, and that the one useful operation is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from itnas.optimizers.darts_pt import DARTSPT

USEFUL = (3, 1, 4, 2, 0, 3)


class OneUsefulOperation(nn.Module):
    """A "supernet" whose logits point at the label as strongly as the useful operation of every edge is weighted."""

    def __init__(self, optimizer: DARTSPT, labels: Tensor) -> None:
        super().__init__()
        self.alphas = optimizer.alphas["edges"]
        self.bias = nn.Parameter(torch.zeros(10))
        self.labels = labels

    def forward(self, images: Tensor) -> Tensor:
        weights = self.alphas.weights()
        strength = sum(weights[edge, k] for edge, k in enumerate(USEFUL))
        # image i is right while the strength of all edges together exceeds its own threshold
        index = images[:, 0, 0, 0].round().long()
        threshold = torch.linspace(0.0, 6.0, len(self.labels))[index]
        target = torch.nn.functional.one_hot(self.labels[index], 10)
        return target * (strength - threshold)[:, None] + self.bias - 1e-3 * torch.arange(10)


def planted(prepare: Callable) -> tuple[DARTSPT, object, object]:
    optimizer, train, valid = prepare("darts-pt-fix-alpha")
    n = len(valid.images)
    valid.images = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 12, 12).clone()
    optimizer.graph = OneUsefulOperation(optimizer, valid.labels)
    optimizer.op_optimizer = optimizer.get_op_optimizer()
    optimizer.train_epoch = lambda *_: (0.0, 0.0)  # nothing to learn: the planted strengths are the truth
    return optimizer, train, valid


def test_the_only_useful_operation_of_every_edge_is_chosen(prepare: Callable) -> None:
    optimizer, train, valid = planted(prepare)
    n = len(valid.images)  # type: ignore[attr-defined]
    labels = valid.labels.clone()  # type: ignore[attr-defined]
    labels[labels == 0] = 1  # class 0 would be right without any strength
    optimizer.graph.labels = labels
    valid.labels = labels  # type: ignore[attr-defined]
    selection = optimizer.select(train, valid)  # type: ignore[arg-type]
    assert optimizer.space.operations(selection.genotype) == [
        ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")[k] for k in USEFUL
    ]
    assert n == 40


def test_schedule_has_six_decisions_at_0_5_10_15_20_24_and_25_tuning_epochs(
    prepare: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer, train, valid = prepare("darts-pt")
    optimizer.config = replace(optimizer.config, tune_epochs_between=5)
    decisions, tuned, saved = [], [], []

    def decide(decision: object, data: object) -> None:
        decisions.append(optimizer.progress.epoch)

    monkeypatch.setattr(optimizer, "decide", decide)
    monkeypatch.setattr(optimizer, "train_epoch", lambda *_: tuned.append(optimizer.progress.epoch))
    optimizer.checkpoint = lambda: saved.append(optimizer.progress.epoch)
    optimizer.select(train, valid)
    assert decisions == [0, 5, 10, 15, 20, 24]
    assert tuned == list(range(25))
    assert saved == list(range(1, 26))


def test_fine_tuning_uses_a_tenth_of_the_rate_and_keeps_it(prepare: Callable) -> None:
    optimizer, train, valid = prepare("darts-pt")
    optimizer.select(train, valid)
    assert optimizer.op_optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * optimizer.config.weights.lr)
    assert optimizer.alphas["edges"].fixed.sum(1).tolist() == [1] * 6


def test_measuring_restores_statistics_and_masks_nothing_afterwards(prepare: Callable) -> None:
    optimizer, _, valid = prepare("darts-pt")
    optimizer.restore_selection()
    decided = ("fixed", "decided")
    before = {n: value.clone() for n, value in optimizer.graph.named_buffers() if not n.endswith(decided)}
    optimizer.decide_next(optimizer.space.phases(), valid)
    assert all(torch.equal(value, dict(optimizer.graph.named_buffers())[name]) for name, value in before.items())
    assert not optimizer.alphas["edges"].masked
    assert optimizer.graph.training
    assert int(optimizer.alphas["edges"].fixed.sum()) == 1


def test_all_candidates_of_an_edge_see_the_same_augmented_batches(prepare: Callable) -> None:
    optimizer, _, valid = prepare("darts-pt")
    optimizer.restore_selection()
    state = optimizer.generator.get_state()
    with optimizer.measuring(optimizer.alphas["edges"]):
        first = optimizer.masked_accuracy(valid, state, (0, 3))
        optimizer.masked_accuracy(valid, state, (0, 1))
        again = optimizer.masked_accuracy(valid, state, (0, 3))
    assert first == again


def test_fixed_alphas_never_move(prepare: Callable) -> None:
    optimizer, train, valid = prepare("darts-pt-fix-alpha")
    before = optimizer.alphas["edges"].logits.detach().clone()
    optimizer.train_epoch(train, valid)
    optimizer.select(train, valid)
    assert torch.equal(optimizer.alphas["edges"].logits, before)
    assert not optimizer.reads_valid_batches


class PlantedParents(nn.Module):
    """A "supernet" that is right the more often, the more the output's weights are worth."""

    WORTH = (0.0, 3.0, 2.0, 1.0, 0.5)

    def __init__(self, optimizer: DARTSPT) -> None:
        super().__init__()
        self.alphas = nn.ModuleDict(optimizer.alphas)
        self.bias = nn.Parameter(torch.zeros(10))
        self.seen: list[frozenset[int]] = []

    def forward(self, images: Tensor) -> Tensor:
        weights = self.alphas["output"].weights()[0]  # type: ignore[operator]
        self.seen.append(frozenset(torch.nonzero(weights == 0).flatten().tolist()))
        strength = 50 * (weights * torch.tensor(self.WORTH)).sum()
        index = images[:, 0, 0, 0].round().long()
        right = strength > torch.linspace(0.0, 70.0, len(images))[: len(index)]
        return torch.nn.functional.one_hot(torch.where(right, 1, 0), 10) + 0 * self.bias


@pytest.mark.parametrize("topology", ["greedy", "single"])
def test_parents_are_removed_one_by_one_and_stay_removed_when_greedy(topology: str, prepare: Callable) -> None:
    optimizer, _, valid = prepare("darts-pt-fix-alpha", space="nasbench1shot1-1", topology=topology)
    n = len(valid.images)
    valid.images = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 12, 12).clone()
    valid.labels = torch.ones(n, dtype=torch.long)
    valid.batch_size = n
    graph = optimizer.graph = PlantedParents(optimizer)  # type: ignore[assignment]
    optimizer.restore_selection()
    decision = next(d for d in optimizer.space.phases()[1][0] if d.group == "output")
    assert (decision.keep, decision.topology, len(decision.options)) == (2, True, 5)
    optimizer.decide(decision, valid)
    assert optimizer.alphas["output"].fixed.tolist() == [[0, 1, 1, 0, 0]]
    assert bool(optimizer.alphas["output"].decided.all())
    assert not optimizer.alphas["output"].masked
    if topology == "single":
        assert [len(zeros) for zeros in graph.seen] == [0, 1, 1, 1, 1, 1]
    else:  # all five, the remaining four without the first removed, the remaining three without both
        assert [len(zeros) for zeros in graph.seen] == [0] + [1] * 5 + [2] * 4 + [3] * 3
        assert all({0} <= zeros for zeros in graph.seen[6:])
        assert all({0, 4} <= zeros for zeros in graph.seen[10:])
    decided = optimizer.decided_scores(optimizer.space.phases())["output"][0]
    assert (decided == -float("inf")).tolist() == [True, False, False, True, True]
