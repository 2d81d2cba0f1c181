"""DARTS: the second-order gradient against its analytic value, and the order of steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.optimizers import darts
from itnas.optimizers.darts import second_order_gradient


class Quadratic(nn.Module):
    """Losses that are quadratic in w and bilinear in alpha: L(w, a; A, b) = 1/2 w'Aw + b'w + w'Ma."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Parameter(torch.randn(4, dtype=torch.float64))
        self.a = nn.Parameter(torch.randn(3, dtype=torch.float64))
        self.m = torch.randn(4, 3, dtype=torch.float64)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        matrix, vector = batch
        self.calls += 1  # stands for BatchNorm statistics
        return 0.5 * self.w @ matrix @ self.w + vector @ self.w + self.w @ self.m @ self.a


def symmetric(seed: int) -> Tensor:
    torch.manual_seed(seed)
    a = torch.randn(4, 4, dtype=torch.float64)
    return a @ a.T


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_second_order_gradient_equals_the_analytic_unrolled_gradient(
    momentum: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rate, decay = Quadratic(), 0.05, 0.1
    train, valid = ((symmetric(i), torch.randn(4, dtype=torch.float64)) for i in (1, 2))
    sgd = torch.optim.SGD([model.w], rate, momentum, weight_decay=decay)
    velocity = torch.randn(4, dtype=torch.float64)
    if momentum:
        sgd.state[model.w]["momentum_buffer"] = velocity.clone()
    monkeypatch.setattr(F, "cross_entropy", lambda logits, labels: logits)
    w, a = model.w.detach().clone(), model.a.detach().clone()
    (ours,), _, loss = second_order_gradient(
        model,
        [model.w],
        [model.a],
        sgd,
        (train, torch.tensor(0)),
        (valid, torch.tensor(0)),  # type: ignore[arg-type]
    )
    # w'(a) = w - rate (A w + b + M a + decay w + momentum v), hence dw'/da = -rate M
    step = train[0] @ w + train[1] + model.m @ a + decay * w + (momentum * velocity if momentum else 0)
    virtual = w - rate * step
    slope = valid[0] @ virtual + valid[1] + model.m @ a
    expected = model.m.T @ virtual - rate * model.m.T @ slope
    assert torch.allclose(ours, expected, rtol=1e-3)
    assert torch.allclose(loss, 0.5 * virtual @ valid[0] @ virtual + valid[1] @ virtual + virtual @ model.m @ a)
    assert torch.equal(model.w, w)


def test_weights_come_back_bit_by_bit_and_the_virtual_forward_leaves_no_statistics(prepare: Callable) -> None:
    optimizer, train, valid = prepare("darts-2nd")
    optimizer.graph.train()
    before = {name: p.detach().clone() for name, p in optimizer.graph.named_parameters()}
    batch, batch_val = next(iter(train)), valid.sample()
    gradients, _, _ = second_order_gradient(
        optimizer.graph,
        optimizer.weight_parameters(),
        optimizer.architectural_weights,
        optimizer.op_optimizer,
        batch,
        batch_val,
    )
    assert all(torch.equal(p, before[name]) for name, p in optimizer.graph.named_parameters())
    assert gradients[0].shape == (6, 5)
    assert gradients[0].abs().sum() > 0


def test_first_order_step_equals_a_plain_implementation(prepare: Callable) -> None:
    """Adam on alphas by the validation batch, then clipped SGD on weights by the training batch, written out."""
    optimizer, train, valid = prepare("darts")
    plain, _, _ = prepare("darts")
    optimizer.graph.train()
    plain.graph.train()
    batch, batch_val = next(iter(train)), valid.sample()
    optimizer.step(batch, batch_val)

    alphas = plain.alphas["edges"].logits
    weights = [p for p in plain.graph.parameters() if p is not alphas]
    adam = torch.optim.Adam([alphas], 3e-3, (0.5, 0.999), weight_decay=1e-3)
    sgd = torch.optim.SGD(weights, 0.1, 0.9, weight_decay=3e-4)
    F.cross_entropy(plain.graph(batch_val[0]), batch_val[1]).backward()
    adam.step()
    plain.graph.zero_grad()
    F.cross_entropy(plain.graph(batch[0]), batch[1]).backward()
    nn.utils.clip_grad_norm_(weights, 5.0)
    sgd.step()
    for a, b in zip(optimizer.graph.parameters(), plain.graph.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_alpha_step_can_follow_the_weight_step(prepare: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, train, valid = prepare("darts")
    order: list[str] = []
    monkeypatch.setattr(
        optimizer, "alpha_step", lambda *_: (order.append("alpha"), (torch.zeros(()), torch.zeros(())))[1]
    )
    monkeypatch.setattr(
        optimizer, "weight_step", lambda *_: (order.append("weight"), (torch.zeros(()), torch.zeros(())))[1]
    )
    for when in ("first", "last"):
        optimizer.config = replace(optimizer.config, alpha_step=when)
        optimizer.step(next(iter(train)), valid.sample())
    assert order == ["alpha", "weight", "weight", "alpha"]
    assert darts.DARTSConfig().alpha_step == "first"
