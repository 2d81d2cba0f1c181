"""CIFAR-100 and SVHN in their official layouts, on generated files of those formats."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from itnas.data import official
from itnas.data.images import Loader
from itnas.data.load import DataConfig, load_data
from itnas.errors import UserError

N = {"train": 301, "test": 100}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, source in list(official.SOURCES.items()):
        monkeypatch.setitem(official.SOURCES, name, replace(source, counts=N))


@pytest.fixture
def pixels() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {part: rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8) for part, n in N.items()}


def write_cifar100(root: Path, pixels: dict[str, np.ndarray]) -> Path:
    folder = root / "cifar100" / "cifar-100-python"
    folder.mkdir(parents=True)
    for part, images in pixels.items():
        n = len(images)
        content = {
            b"filenames": [b"x.png"] * n,
            b"batch_label": b"batch 1 of 1",
            b"fine_labels": [i % 100 for i in range(n)],
            b"coarse_labels": [i % 20 for i in range(n)],
            b"data": images.reshape(n, -1),
        }
        (folder / part).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": [b"apple"] * 100}, protocol=2))
    return folder


def write_svhn(root: Path, pixels: dict[str, np.ndarray]) -> Path:
    folder = root / "svhn"
    folder.mkdir(parents=True)
    for part, images in pixels.items():
        labels = (np.arange(len(images)) % 10 + 1)[:, None].astype(np.uint8)  # 1 to 10, ten for the digit 0
        content = {"X": images.transpose(2, 3, 1, 0), "y": labels}
        scipy.io.savemat(folder / f"{part}_32x32.mat", content, do_compression=True)
    return folder


def test_cifar100_halves_fine_labels_and_normalisation(pixels: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_cifar100(tmp_path, pixels)
    data = load_data(DataConfig("cifar100", "halves", 32), tmp_path)
    assert (data.info.n_classes, data.info.channels) == (100, 3)
    assert [len(part.labels) for part in (data.train, data.valid, data.test)] == [150, 151, 100]
    assert np.array_equal(data.valid.images.numpy(), pixels["train"][150:])
    assert data.valid.labels[:3].tolist() == [50, 51, 52]
    clean = data.test.clean(data.test.images[:1])
    assert clean[0, 1, 3, 4].item() == pytest.approx((pixels["test"][0, 1, 3, 4] / 255 - 0.4865) / 0.2564, abs=1e-5)
    assert data.split.startswith("halves, 150 + 151 images of 32x32, not the files")


def test_svhn_ten_is_the_digit_zero_and_axes_are_in_order(pixels: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_svhn(tmp_path, pixels)
    data = load_data(DataConfig("svhn", "halves", 32), tmp_path)
    assert np.array_equal(data.train.images.numpy(), pixels["train"][:150])
    assert data.train.labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert [len(part.labels) for part in (data.train, data.valid, data.test)] == [150, 151, 100]


def test_official_files_are_recognised_by_their_md5(
    pixels: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_svhn(tmp_path, pixels)
    sums = {part: hashlib.md5((folder / f"{part}_32x32.mat").read_bytes()).hexdigest() for part in N}
    source = official.SOURCES["svhn"]
    assert not official.is_official(source, tmp_path, "test")
    monkeypatch.setitem(official.SOURCES, "svhn", replace(source, md5=sums))
    assert load_data(DataConfig("svhn", "halves", 32), tmp_path).split == "halves, 150 + 151 images of 32x32"


@pytest.mark.parametrize("name", ["cifar100", "svhn"])
def test_small_images_and_stratified_halves(name: str, pixels: dict[str, np.ndarray], tmp_path: Path) -> None:
    {"cifar100": write_cifar100, "svhn": write_svhn}[name](tmp_path, pixels)
    data = load_data(DataConfig(name, "halves", 16, 100), tmp_path)
    assert data.train.images.shape == (100, 3, 16, 16)
    assert np.bincount(data.train.labels).tolist() == [100 // data.info.n_classes] * data.info.n_classes
    x, y = Loader(data.train, data.info, 8, torch.Generator().manual_seed(0), "cpu").sample()
    assert x.shape == (8, 3, 16, 16)
    assert y.dtype == torch.int64


def test_the_checksum_follows_the_files(pixels: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_cifar100(tmp_path / "a", pixels)
    write_cifar100(tmp_path / "b", {**pixels, "test": 255 - pixels["test"]})
    config = DataConfig("cifar100", "halves", 8)
    a, b = (load_data(config, tmp_path / name).checksum for name in "ab")
    assert a != b
    assert a == load_data(config, tmp_path / "a").checksum


@pytest.mark.parametrize(("name", "file"), [("cifar100", "cifar-100-python/test"), ("svhn", "test_32x32.mat")])
def test_missing_truncated_and_short_files_are_named(
    name: str, file: str, pixels: dict[str, np.ndarray], tmp_path: Path
) -> None:
    config = DataConfig(name, "halves", 32)
    with pytest.raises(UserError, match="is missing: there is no"):
        load_data(config, tmp_path)
    write = {"cifar100": write_cifar100, "svhn": write_svhn}[name]
    write(tmp_path, pixels)
    path = tmp_path / name / file
    content = path.read_bytes()
    for size in (0, 3, 200, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=path.name):
            load_data(config, tmp_path)
    path.write_bytes(b"not such a file" * 100)
    with pytest.raises(UserError, match=path.name):
        load_data(config, tmp_path)
    write(tmp_path / "short", {**pixels, "test": pixels["test"][:99]})
    with pytest.raises(UserError, match="holds 99 images and 99 labels, the official file 100"):
        load_data(config, tmp_path / "short")


def test_a_pickle_that_would_run_code_is_refused(pixels: dict[str, np.ndarray], tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return (Path.touch, (tmp_path / "written",))

    folder = write_cifar100(tmp_path, pixels)
    (folder / "train").write_bytes(pickle.dumps({b"data": Payload(), b"fine_labels": []}))
    with pytest.raises(UserError, match="no official CIFAR-100 batch"):
        load_data(DataConfig("cifar100", "halves", 32), tmp_path)
    assert not (tmp_path / "written").exists()


def test_what_is_asked_for_must_fit_the_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="svhn needs ITNAS_DATA"):
        load_data(DataConfig("svhn", "halves", 32), None)
    with pytest.raises(UserError, match="split file is for cifar10"):
        load_data(DataConfig("cifar100", "benchmark", 32), tmp_path)
    with pytest.raises(UserError, match="no embedded split"):
        load_data(DataConfig("svhn", "embedded", 32), tmp_path)
