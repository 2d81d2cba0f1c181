"""The exact Hessian in the alphas: by hand, against finite differences on a supernet, and without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.config import EigenvalueConfig
from itnas.data.images import DatasetInfo, ImageSet, Loader
from itnas.hessian import alpha_hessian, eigenvalue_row, extreme_eigenvalues, hessian
from itnas.nn.networks import NetworkConfig
from itnas.optimizers.darts import DARTS, DARTSConfig
from itnas.spaces import get_space


def images(n: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, 1, 6, 6, generator=generator), torch.randint(3, (n,), generator=generator)


def supernet() -> DARTS:
    """A small supernet in double precision whose alphas are away from uniform."""
    torch.manual_seed(0)
    optimizer = DARTS(DARTSConfig(), NetworkConfig(channels=2, cells_per_stage=1))
    optimizer.adapt_search_space(get_space("nasbench201"), DatasetInfo("tiny", 3, 1))
    optimizer.graph.double()
    with torch.no_grad():
        for parameter in optimizer.architectural_weights:
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return optimizer


def test_a_quadratic_form_of_two_tensors_has_its_matrix_as_hessian() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    matrix = root + root.T
    first = torch.randn(2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    second = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        x = torch.cat([first.flatten(), second])
        return 0.5 * x @ matrix @ x + x.sum()

    found = hessian(loss, [first, second])
    assert torch.allclose(found, matrix)
    smallest, largest = extreme_eigenvalues(found)
    expected = torch.linalg.eigvalsh(matrix)
    assert (smallest, largest) == pytest.approx((expected[0].item(), expected[-1].item()))
    assert first.grad is None


def test_two_variables_by_hand() -> None:
    # f = x^2 y + 3 y^2: Hessian [[2y, 2x], [2x, 6]]; at (1, 2) its eigenvalues are 5 -+ sqrt(5).
    x, y = (torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in (1.0, 2.0))
    found = hessian(lambda: (x**2 * y + 3 * y**2).sum(), [x, y])
    assert found.tolist() == [[4.0, 2.0], [2.0, 6.0]]
    assert extreme_eigenvalues(found) == pytest.approx((5 - 5**0.5, 5 + 5**0.5))


def test_a_linear_loss_and_a_parameter_that_plays_no_part_have_zero_curvature() -> None:
    x, idle = torch.ones(2, requires_grad=True), torch.ones(1, requires_grad=True)
    assert hessian(lambda: 3 * x.sum(), [x, idle]).tolist() == [[0.0] * 3] * 3
    assert hessian(lambda: (x**2).sum(), [x, idle]).tolist() == [[2.0, 0, 0], [0, 2.0, 0], [0, 0, 0]]


@pytest.mark.parametrize("bn", ["train", "eval"])
def test_it_agrees_with_finite_differences_of_the_loss_on_a_supernet(bn: str) -> None:
    optimizer = supernet()
    x, y = images()
    (alphas,) = optimizer.architectural_weights
    exact = alpha_hessian(optimizer.graph, [alphas], [(x.double(), y)], bn)  # pyright: ignore[reportArgumentType]
    assert torch.allclose(exact, exact.T, atol=1e-9)
    optimizer.graph.train(bn == "train")

    def gradient_at(place: int, step: float) -> Tensor:
        with torch.no_grad():
            alphas.view(-1)[place] += step
        (gradient,) = torch.autograd.grad(F.cross_entropy(optimizer.graph(x.double()), y), [alphas])
        with torch.no_grad():
            alphas.view(-1)[place] -= step
        return gradient.flatten()

    for place in (0, 8, 17, 29):
        difference = (gradient_at(place, 1e-5) - gradient_at(place, -1e-5)) / 2e-5
        assert torch.allclose(exact[place], difference, atol=1e-7, rtol=1e-4)


def test_the_dominant_eigenvalue_is_the_curvature_along_its_vector() -> None:
    """Second difference of the loss itself, so that no gradient is involved."""
    optimizer = supernet()
    x, y = images()
    (alphas,) = optimizer.architectural_weights
    matrix = alpha_hessian(optimizer.graph, [alphas], [(x.double(), y)], "train")
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    direction, start = vectors[:, -1].view_as(alphas), alphas.detach().clone()

    @torch.no_grad()
    def loss(step: float) -> float:
        alphas.copy_(start + step * direction)
        return F.cross_entropy(optimizer.graph(x.double()), y).item()

    curvature = (loss(1e-5) - 2 * loss(0.0) + loss(-1e-5)) / 1e-10
    assert curvature == pytest.approx(values[-1].item(), rel=1e-3)
    assert extreme_eigenvalues(matrix)[1] == pytest.approx(values[-1].item())


class Noisy(nn.Module):
    """Draws in its forward pass, as the operation `noise` does."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([0.5, -0.5]))
        self.bn = nn.BatchNorm2d(2)
        self.noise = 1.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(torch.cat([x, x**2 + self.noise * torch.randn_like(x)], dim=1))
        return (y * torch.softmax(self.alpha, 0)[None, :, None, None]).sum((2, 3))


@pytest.mark.parametrize("training", [True, False])
def test_no_trace_is_left_in_statistics_mode_gradients_or_random_numbers(training: bool) -> None:
    model = Noisy()
    model.train(training)
    model.alpha.grad = torch.ones(2)
    x, y = images()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = alpha_hessian(model, [model.alpha], [(x, y % 2)], "train")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training == model.bn.training == training
    assert model.alpha.grad.tolist() == [1.0, 1.0]
    torch.rand(5)
    assert torch.equal(alpha_hessian(model, [model.alpha], [(x, y % 2)], "train"), first)


def test_batches_are_averaged_by_their_size() -> None:
    model = Noisy()
    x, y = images()
    parts = [(x[:8], y[:8] % 2), (x[8:], y[8:] % 2)]
    model.noise = 0.0
    one, two = (alpha_hessian(model, [model.alpha], [part], "train") for part in parts)
    assert torch.allclose(alpha_hessian(model, [model.alpha], parts, "train"), (8 * one + 4 * two) / 12)


def test_no_images_are_an_error() -> None:
    model = Noisy()
    with pytest.raises(ValueError, match="at least one image"):
        alpha_hessian(model, [model.alpha], [], "train")


def test_the_row_of_the_record() -> None:
    x, y = images(30)
    part = ImageSet(x, y % 2, lambda images, generator: images, lambda images: images)
    data = Loader(part, DatasetInfo("tiny", 2, 1), 4, torch.Generator(), "cpu")
    model = Noisy()
    row = eigenvalue_row(model, [model.alpha], data, EigenvalueConfig(images=20, batch_size=8), 3)
    assert (row["epoch"], row["n_images"]) == (3, 20)
    assert row["smallest"] < row["eigenvalue"]


def test_due_after_every_so_many_epochs_and_the_last() -> None:
    assert [epoch for epoch in range(8) if EigenvalueConfig(every=3).due(epoch, 7)] == [0, 3, 6, 7]
