"""A small search on digits, for every method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from itnas.config import make_config
from itnas.data import digits
from itnas.data.images import Dataset, Loader
from itnas.optimizers import METHODS, Optimizer
from itnas.spaces import CellSpace, get_space


@pytest.fixture(scope="session")
def data() -> Dataset:
    return digits.load()


Prepared = tuple[Optimizer, Loader, Loader]


@pytest.fixture
def prepare(data: Dataset) -> Callable[..., Prepared]:
    """Return a function that sets a method up on 64 training and 40 validation digits, on 16 each in the DARTS spaces."""

    def build(method: str, seed: int = 0, space: str = "nasbench201", **options: object) -> Prepared:
        config = make_config(space, method, "digits", seed, smoke=True)
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        n_train, n_valid = (16, 16) if isinstance(get_space(space), CellSpace) else (64, 40)
        train = Loader(data.train, data.info, 16, generator, "cpu").first(n_train)
        valid = Loader(data.valid, data.info, 16, generator, "cpu").first(n_valid)
        settings = replace(config.optimizer, **options)  # type: ignore[arg-type]
        optimizer = METHODS[method][0](settings, config.network)
        optimizer.adapt_search_space(get_space(space), "digits")
        optimizer.before_training()
        return optimizer, *optimizer.prepare_data(train, valid, generator)

    return build
