"""What a current Python needs to import NASLib's commit 0b51bc18 (2023), and where NASLib is looked for.

Nothing of NASLib is imported here. Every repair of :func:`make_importable` is a function of its own that says what breaks
without it, and does nothing where nothing is broken.
"""

from __future__ import annotations

import collections
import collections.abc
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from itnas.errors import UserError

COMMIT = "0b51bc18"
"""The commit of github.com/automl/NASLib, branch Develop, that this package is written for and tested with."""


class NASLibMissing(UserError, ImportError):
    """NASLib, or a package it imports, is not installed."""


def find_naslib() -> None:
    """Make ``import naslib`` find NASLib: installed, or the checkout that NASLIB_PATH names.

    Raises:
        NASLibMissing: it is neither; the message says how to get it.
    """
    if "naslib" in sys.modules or importlib.util.find_spec("naslib") is not None:
        return
    path = os.environ.get("NASLIB_PATH", "")
    if path and (Path(path) / "naslib" / "__init__.py").is_file():
        sys.path.insert(0, path)
        importlib.invalidate_caches()
        return
    if path:
        raise NASLibMissing(
            f"NASLIB_PATH names {path}, which holds no folder `naslib`; let it name a checkout of NASLib's commit {COMMIT}"
        )
    raise NASLibMissing(
        "NASLib is not installed; check out commit "
        f"{COMMIT} of https://github.com/automl/NASLib, let NASLIB_PATH name that folder, and "
        "`pip install 'itnas[naslib]'` for the packages it imports"
    )


def make_importable() -> list[str]:
    """Repair, in this process only, what keeps NASLib's commit 0b51bc18 from importing on a current Python.

    Call it before the first ``import naslib``; calling it again is harmless. In this order:

    1. :func:`declare_torchvision_operators`: torchvision built for CUDA beside a CPU build of torch.
    2. :func:`provide_collections_aliases`: ``from collections import Iterable``, removed in Python 3.10.
    3. :func:`provide_turtle`: ``turtle`` where Python has no tkinter.
    4. :func:`provide_distutils`: ``distutils``, removed in Python 3.12.
    5. :func:`repair_parameter_count`: ``numpy.sum`` of a generator, an error since NumPy 2.4.

    Returns:
        The names of the repairs that were needed, empty where NASLib imports as it is.

    Raises:
        NASLibMissing: NASLib, or a package it imports, is not installed; the message says how to get it.
    """
    find_naslib()
    done: list[str] = []
    for repair in (
        declare_torchvision_operators,
        provide_collections_aliases,
        provide_turtle,
        provide_distutils,
        repair_parameter_count,
    ):
        try:
            changed = repair()
        except ModuleNotFoundError as error:
            raise missing_package(error) from error
        if changed:
            done.append(repair.__name__)
    return done


def missing_package(error: ModuleNotFoundError) -> NASLibMissing:
    """Return the sentence for a package that NASLib imports and that is not installed."""
    return NASLibMissing(
        f"NASLib imports {error.name}, which is not installed; `pip install 'itnas[naslib]'` brings it"
    )


def declare_torchvision_operators() -> bool:
    """Declare ``torchvision::nms`` and ``torchvision::qnms`` where torchvision's compiled operators cannot load.

    PyPI's torchvision links against CUDA's torch. Beside a CPU build of torch its operators stay unknown, and
    ``import torchvision`` ends in "operator torchvision::nms does not exist". Declared without an implementation, data sets,
    transforms and models import; the compiled operators stay unusable.
    """
    if "torchvision" in sys.modules:
        return False
    import torch

    if importlib.util.find_spec("torchvision") is None:
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")
    try:
        importlib.import_module("torchvision")
        return False
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    _forget("torchvision")
    schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
    for operator in ("torchvision::nms", "torchvision::qnms"):
        if operator not in torch._C._dispatch_get_all_op_names():
            torch.library.define(operator, schema)
    importlib.import_module("torchvision")
    return True


def _forget(package: str) -> None:
    """Remove the modules that a failed import left behind."""
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]


def provide_collections_aliases() -> bool:
    """Give ``collections`` the abstract class ``Iterable`` again.

    NASLib's Gaussian-process predictors ask for it there; importing any optimizer imports them.
    """
    if hasattr(collections, "Iterable"):
        return False
    collections.Iterable = Iterable  # pyright: ignore[reportAttributeAccessIssue]
    return True


def provide_turtle() -> bool:
    """Provide a ``turtle`` with ``pos`` and ``position`` where Python has no tkinter.

    NASLib's GSparsity optimizer imports the two and never uses them; turtle needs tkinter, which Debian's and other Pythons
    come without.
    """
    try:
        import turtle  # noqa: F401

        return False
    except ImportError:
        _forget("turtle")
        sys.modules["turtle"] = _stand_in("turtle", pos=None, position=None)
        return True


def provide_distutils() -> bool:
    """Provide ``distutils.command.config``, which NASLib's GSparsity optimizer imports and never uses."""
    if importlib.util.find_spec("distutils") is not None:
        return False
    for name in ("distutils", "distutils.command"):
        sys.modules[name] = _stand_in(name, __path__=[])
    sys.modules["distutils.command.config"] = _stand_in("distutils.command.config", config=None)
    return True


def repair_parameter_count() -> bool:
    """Let NASLib count parameters with Python's ``sum``.

    ``naslib.utils.count_parameters_in_MB`` hands a generator to ``numpy.sum``, a TypeError since NumPy 2.4; NASLib's own
    optimizers then fail in ``Trainer.__init__``.
    """
    utils = importlib.import_module("naslib.utils")
    import torch

    probe = torch.nn.Linear(1, 1)
    try:
        if utils.count_parameters_in_MB(probe) == 2e-6:
            return False
    except TypeError:
        pass

    def count_parameters_in_MB(model: Any) -> float:  # noqa: ANN401 - the name is NASLib's
        return sum(p.numel() for name, p in model.named_parameters() if "auxiliary" not in name) / 1e6

    _replace(utils.count_parameters_in_MB, count_parameters_in_MB)
    return True


def _replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """Put ``new`` in the place of ``old`` in every imported module of NASLib."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "naslib":
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)


def _stand_in(name: str, **members: Any) -> ModuleType:  # noqa: ANN401
    module = ModuleType(name, "Stands in for a module of the standard library that this Python lacks.")
    vars(module).update(members)
    return module
