"""Curvature of the validation loss in the architecture parameters: the eigenvalues of its exact Hessian.

RobustDARTS (Zela et al., ICLR 2020) finds that the dominant eigenvalue grows before a search collapses. The loss is the
first-order one: cross-entropy on validation images at the present weights, also where the search itself is second order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.config import EigenvalueConfig
from itnas.data.images import Loader
from itnas.measure import restored_statistics


def hessian(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> Tensor:
    """Return the Hessian ``[n, n]`` of a scalar function of ``parameters`` at their present values.

    Row ``i`` is the gradient of element ``i`` of the gradient (double backward); elements follow each other as the
    parameters do, each flattened. Parameters that the loss does not depend on have zero rows. No ``.grad`` is touched.
    """
    first = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
    gradient = torch.cat([part.flatten() for part in first])
    if not gradient.requires_grad:  # the loss is linear in all of them
        return gradient.new_zeros(len(gradient), len(gradient))
    rows = []
    for element in gradient:
        second = torch.autograd.grad(element, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in second]))
    return torch.stack(rows)


def alpha_hessian(
    model: nn.Module, alphas: Sequence[Tensor], batches: Iterable[tuple[Tensor, Tensor]], bn: Literal["train", "eval"]
) -> Tensor:
    """Return the Hessian ``[n, n]`` of the mean cross-entropy of ``batches`` with respect to ``alphas``.

    BatchNorm statistics, modes, gradients and torch's random numbers are left as they were; what a forward pass draws (the
    operation ``noise``) is drawn from a fixed seed.
    """
    total, count = torch.zeros(()), 0
    devices = [parameter.device for parameter in alphas if parameter.is_cuda]
    with restored_statistics(model), torch.random.fork_rng(devices), torch.enable_grad():
        torch.manual_seed(0)
        model.train(bn == "train")
        for images, labels in batches:

            def loss(images: Tensor = images, labels: Tensor = labels) -> Tensor:
                return F.cross_entropy(model(images), labels)

            total = total.to(alphas[0]) + len(labels) * hessian(loss, alphas)
            count += len(labels)
    if not count:
        raise ValueError("the Hessian of a loss needs at least one image")
    return total / count


def extreme_eigenvalues(matrix: Tensor) -> tuple[float, float]:
    """Return the smallest and the largest eigenvalue of a symmetric matrix (of its symmetric part, in double precision)."""
    double = matrix.detach().double().cpu()
    values = torch.linalg.eigvalsh((double + double.T) / 2)
    return values[0].item(), values[-1].item()


def eigenvalue_row(
    model: nn.Module, alphas: Sequence[Tensor], data: Loader, config: EigenvalueConfig, epoch: int
) -> dict[str, float]:
    """Return the row of the record's table `eigenvalues` after ``epoch``."""
    batches = list(data.clean(config.batch_size, config.images))
    smallest, largest = extreme_eigenvalues(alpha_hessian(model, alphas, batches, config.bn))
    n_images = sum(len(labels) for _, labels in batches)
    return {"epoch": epoch, "eigenvalue": largest, "smallest": smallest, "n_images": n_images}
