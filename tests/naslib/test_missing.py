"""Without NASLib: what imports say; and each repair of make_importable alone."""

from __future__ import annotations

import collections
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from itnas.errors import UserError

ROOT = Path(__file__).parents[2]
HIDE = """
import importlib.util, os, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "naslib" else real(name, *a)
os.environ.pop("NASLIB_PATH", None)
"""


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_itnas_neither_imports_nor_mentions_naslib() -> None:
    printed = run(
        "import itnas, itnas.records, itnas.spaces, sys\nprint([m for m in sys.modules if 'naslib' in m.lower()])"
    )
    assert printed.strip() == "[]"
    assert "naslib" not in (ROOT / "itnas" / "__init__.py").read_text().lower()


def test_without_naslib_the_import_is_one_sentence_saying_how_to_get_it() -> None:
    printed = run(HIDE + "try:\n    import itnas.naslib\nexcept ImportError as error:\n    print(error)")
    assert len(printed.splitlines()) == 1
    for part in ("0b51bc18", "https://github.com/automl/NASLib", "NASLIB_PATH", "pip install"):
        assert part in printed


@pytest.fixture
def compatibility(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module alone, without the package that looks for NASLib when it is imported."""
    path = ROOT / "itnas" / "naslib" / "compatibility.py"
    spec = importlib.util.spec_from_file_location("compatibility_alone", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = list(sys.path)
    yield module
    sys.path[:] = before


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let these modules be neither imported nor found."""
    find: Callable[..., ModuleSpec | None] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in names else find(name, *a))
    for loaded in [m for m in sys.modules if m.split(".")[0] in names]:
        monkeypatch.delitem(sys.modules, loaded)


def test_naslib_path_must_name_a_checkout(
    compatibility: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide(monkeypatch, "naslib")
    monkeypatch.setenv("NASLIB_PATH", str(tmp_path))
    with pytest.raises(UserError, match=f"NASLIB_PATH names {tmp_path}, which holds no folder `naslib`"):
        compatibility.find_naslib()
    (tmp_path / "naslib").mkdir()
    (tmp_path / "naslib" / "__init__.py").touch()
    compatibility.find_naslib()
    assert sys.path[0] == str(tmp_path)
    monkeypatch.delenv("NASLIB_PATH")
    with pytest.raises(ImportError, match="NASLib is not installed"):
        compatibility.find_naslib()


def test_a_package_that_naslib_needs_is_named(compatibility: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "torchvision")
    monkeypatch.setattr(compatibility, "find_naslib", lambda: None)
    with pytest.raises(UserError, match=r"NASLib imports torchvision, which is not installed; `pip install"):
        compatibility.make_importable()


def test_torchvision_without_its_operators_imports(
    compatibility: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stand-in that fails as torchvision does beside a CPU build of torch, until both operators are declared."""
    for loaded in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, loaded)
    # What is imported from now on is forgotten afterwards: the entry set here is undone, whatever stands in its place then.
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    del sys.modules["torchvision"]
    known = set(torch._C._dispatch_get_all_op_names()) - {"torchvision::nms", "torchvision::qnms"}
    defined: list[str] = []
    monkeypatch.setattr(torch._C, "_dispatch_get_all_op_names", lambda: [*known, *defined])
    monkeypatch.setattr(torch.library, "define", lambda name, schema: defined.append(name))
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "import torch\n"
        "for name in ('torchvision::nms', 'torchvision::qnms'):\n"
        "    if name not in torch._C._dispatch_get_all_op_names():\n"
        "        raise RuntimeError(f'operator {name} does not exist')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert compatibility.declare_torchvision_operators()
    assert defined == ["torchvision::nms", "torchvision::qnms"]
    assert not compatibility.declare_torchvision_operators()
    del sys.modules["torchvision"]
    assert not compatibility.declare_torchvision_operators()


def test_collections_has_iterable_again(compatibility: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(collections, "Iterable", raising=False)
    assert compatibility.provide_collections_aliases()
    assert isinstance([], collections.Iterable)  # type: ignore[attr-defined]
    assert not compatibility.provide_collections_aliases()
    monkeypatch.delattr(collections, "Iterable")


def test_turtle_without_tkinter(compatibility: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "turtle", None)  # importing it is an ImportError
    assert compatibility.provide_turtle()
    module = importlib.import_module("turtle")
    assert hasattr(module, "pos") and hasattr(module, "position")
    assert not compatibility.provide_turtle()


def test_distutils_after_python_3_12(compatibility: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("distutils", "distutils.command", "distutils.command.config")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))  # comes back afterwards
    hide(monkeypatch, "distutils")
    assert compatibility.provide_distutils()
    assert hasattr(importlib.import_module("distutils.command.config"), "config")


def test_parameters_are_counted_where_numpy_refuses_generators(
    compatibility: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_naslib_does(model: Any) -> Any:
        raise TypeError("numpy.sum does not take a generator")

    utils, user = ModuleType("naslib.utils"), ModuleType("naslib.user")
    utils.count_parameters_in_MB = user.count = as_naslib_does  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "naslib", ModuleType("naslib"))
    monkeypatch.setitem(sys.modules, "naslib.utils", utils)
    monkeypatch.setitem(sys.modules, "naslib.user", user)
    assert compatibility.repair_parameter_count()
    model = torch.nn.ModuleDict({"auxiliary": torch.nn.Linear(9, 9), "own": torch.nn.Linear(3, 4)})
    assert np.isclose(utils.count_parameters_in_MB(model), 16e-6)  # type: ignore[attr-defined]
    assert user.count is utils.count_parameters_in_MB  # type: ignore[attr-defined]
    assert not compatibility.repair_parameter_count()
