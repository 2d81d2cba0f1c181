"""CIFAR-10 in both layouts (generated here), its two splits, and what is said of damaged files."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from itnas.data import cifar
from itnas.data.images import Loader
from itnas.errors import UserError

N = {"train": 100, "test": 40}


@pytest.fixture
def pixels() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {part: (rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), np.arange(n) % 10) for part, n in N.items()}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cifar, "COUNTS", N)
    monkeypatch.setenv("ITNAS_CACHE", str(tmp_path / "cache"))


def write_parquet(root: Path, pixels: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    (root / "cifar10").mkdir(parents=True)
    for part, (images, labels) in pixels.items():
        rows = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG")
            rows.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"img": rows, "label": labels})
        pq.write_table(table, root / "cifar10" / f"{part}-00000-of-00001.parquet")


def write_batches(root: Path, pixels: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    folder = root / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for part, names in cifar.BATCHES.items():
        images, labels = pixels[part]
        for name, i, k in zip(
            names, np.array_split(images, len(names)), np.array_split(labels, len(names)), strict=True
        ):
            content = {b"data": i.reshape(len(i), -1), b"labels": k.tolist()}
            (folder / name).write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("write", [write_parquet, write_batches])
def test_both_layouts_give_the_same_pixels_and_are_decoded_once(
    write: object, pixels: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, pixels)  # type: ignore[operator]
    for part, (images, labels) in pixels.items():
        ours, our_labels, checksum = cifar.decoded(tmp_path, part)  # type: ignore[arg-type]
        assert np.array_equal(ours, images)
        assert np.array_equal(our_labels, labels)
        assert len(checksum) == 64
    monkeypatch.setattr(cifar, "_read_parquet", None)
    monkeypatch.setattr(cifar, "_read_batches", None)
    assert np.array_equal(cifar.decoded(tmp_path, "train")[0], pixels["train"][0])


def test_area_mean_halves_the_image(pixels: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    images, labels = pixels["test"]
    part = cifar._image_set(images, labels, 16)
    expected = images.reshape(40, 3, 16, 2, 16, 2).mean((3, 5)).round()
    assert np.array_equal(part.images.numpy(), expected)
    clean = part.clean(part.images[:2])
    by_hand = (expected[1, 2, 5, 7] / 255 - cifar.MEAN[2]) / cifar.STD[2]
    assert clean[1, 2, 5, 7].item() == pytest.approx(by_hand, abs=1e-5)


def test_crop_keeps_the_size_and_every_crop_is_a_window_of_the_padded_image(
    pixels: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    images = torch.from_numpy(pixels["test"][0])
    out = cifar.crop_and_flip(images, 4, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    padded = torch.nn.functional.pad(images, [4] * 4)
    for original, crop in zip(padded, out, strict=True):
        windows = (original[:, t : t + 32, left : left + 32] for t in range(9) for left in range(9))
        assert any(torch.equal(w, crop) or torch.equal(w.flip(-1), crop) for w in windows)


def test_stratified_subset_is_balanced_and_the_same_at_every_call() -> None:
    labels = np.arange(1000) % 10
    chosen = cifar.stratified(np.arange(500), labels, 100, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [10] * 10
    assert np.array_equal(chosen, cifar.stratified(np.arange(500), labels, 100, seed=0))
    with pytest.raises(UserError, match="lower per_half"):
        cifar.stratified(np.arange(500), labels, 1000, seed=0)


@pytest.mark.data
def test_real_cifar10_splits_and_subset(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves = cifar.split_indices(data_root, "benchmark")
    assert halves[0][:5].tolist() == [0, 5, 7, 11, 13]
    assert [len(h) for h in halves] == [25_000, 25_000]
    first, last = cifar.split_indices(data_root, "halves")
    assert (first[-1], last[0]) == (24_999, 25_000)


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CIFAR-10 .train. is missing.*--preset digits"):
        cifar.decoded(tmp_path, "train")
    with pytest.raises(UserError, match=r"splits.npz is missing.*halves"):
        cifar.split_indices(tmp_path, "benchmark")


def test_truncated_files_are_named(tmp_path: Path, pixels: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    write_parquet(tmp_path / "a", pixels)
    path = tmp_path / "a" / "cifar10" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"train-00000-of-00001.parquet is damaged"):
        cifar.decoded(tmp_path / "a", "train")
    write_batches(tmp_path / "b", pixels)
    batch = tmp_path / "b" / "cifar10" / "cifar-10-batches-py" / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:500])
    with pytest.raises(UserError, match="data_batch_3"):
        cifar.decoded(tmp_path / "b", "train")
    batch.unlink()
    with pytest.raises(UserError, match=r"data_batch_3 is missing"):
        cifar.decoded(tmp_path / "b", "train")


def test_a_batch_that_would_run_code_is_refused(
    tmp_path: Path, pixels: dict[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "written",))  # type: ignore[return-value]

    write_batches(tmp_path, pixels)
    batch = tmp_path / "cifar10" / "cifar-10-batches-py" / "data_batch_1"
    batch.write_bytes(pickle.dumps({b"data": Payload(), b"labels": []}))
    with pytest.raises(UserError, match="data_batch_1 is no official CIFAR-10 batch"):
        cifar.decoded(tmp_path, "train")
    assert not (tmp_path / "written").exists()


def test_a_damaged_cache_is_rebuilt(tmp_path: Path, pixels: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    write_parquet(tmp_path, pixels)
    cifar.decoded(tmp_path, "test")
    (cache,) = (tmp_path / "cache").glob("cifar10-test-*.npz")
    cache.write_bytes(b"half")
    assert np.array_equal(cifar.decoded(tmp_path, "test")[0], pixels["test"][0])


def test_loader_on_cifar_is_channels_last_and_normalised(pixels: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    part = cifar._image_set(*pixels["train"], 32)
    from itnas.data.images import INFOS

    x, y = Loader(part, INFOS["cifar10"], 10, torch.Generator().manual_seed(0), "cpu").sample()
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.shape == (10, 3, 32, 32)
    assert y.dtype == torch.int64
