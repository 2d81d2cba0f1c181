"""Stand-alone training of found genotypes: cutout, protocol, its own record, resuming, sharing between searches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from itnas.config import CellEvaluationConfig
from itnas.data import digits
from itnas.data.images import INFOS, Dataset, ImageSet, cutout
from itnas.errors import UserError
from itnas.optimizers.base import SGDConfig
from itnas.records import read_table
from itnas.training import Training, TrainingPlace, evaluation_rows, training_images
from tests.spaces.published import DARTS_PT, DARTS_V2

PROTOCOL = CellEvaluationConfig(
    seeds=(0,), epochs=3, batch_size=16, cells=3, channels=4, images="train", cutout=0, weights=SGDConfig(lr=0.1)
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    whole = digits.load()

    def first(part: ImageSet, n: int) -> ImageSet:
        return ImageSet(part.images[:n], part.labels[:n], part.augment, part.clean)

    return replace(whole, train=first(whole.train, 48), valid=first(whole.valid, 40), test=first(whole.test, 40))


def place(folder: Path) -> TrainingPlace:
    return TrainingPlace(folder)


def test_cutout_zeroes_one_square_clipped_at_the_border() -> None:
    images = torch.ones(200, 3, 12, 10)
    out = cutout(images, 6, torch.Generator().manual_seed(0))
    sizes = set()
    for image in out:
        assert torch.equal(image[0], image[2])
        rows, columns = torch.nonzero(image[0] == 0, as_tuple=True)
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert len(rows) == height * width
        assert 3 <= height <= 6
        assert 3 <= width <= 6
        sizes.add((height, width))
    assert {(3, 3), (6, 6)} <= sizes


def test_published_protocol_is_the_default() -> None:
    protocol = CellEvaluationConfig()
    assert (protocol.cells, protocol.channels, protocol.epochs, protocol.batch_size) == (20, 36, 600, 96)
    assert (protocol.cutout, protocol.auxiliary_weight, protocol.drop_path) == (16, 0.4, 0.2)
    sgd = protocol.weights
    assert (sgd.lr, sgd.lr_min, sgd.momentum, sgd.nesterov) == (0.025, 0.0, 0.9, False)
    assert (sgd.weight_decay, sgd.grad_clip) == (3e-4, 5.0)


def test_training_learns_and_writes_its_own_record(data: Dataset, tmp_path: Path) -> None:
    training = Training(DARTS_PT["darts_pt_s1_1"], replace(PROTOCOL, epochs=4), data, 0, place(tmp_path))
    result = training.result()
    record = json.loads((training.folder / "evaluation.json").read_text())
    assert record["result"] == result
    assert record["genotype"] == DARTS_PT["darts_pt_s1_1"]
    assert record["evaluation_seed"] == 0
    assert record["protocol"]["drop_path"] == 0.2
    epochs = read_table(training.folder, "epochs")
    assert epochs["epoch"].tolist() == list(range(1, 5))
    assert epochs["train_loss"].iloc[-1] < epochs["train_loss"].iloc[0]
    assert sorted(path.name for path in training.folder.iterdir()) == ["epochs.parquet", "evaluation.json"]


class Killed(Exception):
    pass


def test_a_killed_training_continues_and_ends_the_same(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Training(DARTS_V2, PROTOCOL, data, 1, place(tmp_path / "whole"))
    expected = whole.result()
    killed = Training(DARTS_V2, PROTOCOL, data, 1, place(tmp_path / "killed"))
    original = Training.save

    def save_and_die(self: Training) -> None:
        original(self)
        if len(self.rows) == 2:
            raise Killed

    monkeypatch.setattr(Training, "save", save_and_die)
    with pytest.raises(Killed):
        killed.result()
    monkeypatch.setattr(Training, "save", original)
    torch.manual_seed(99)
    again = Training(DARTS_V2, PROTOCOL, data, 1, place(tmp_path / "killed"))
    assert again.result() == expected
    assert again.resumed == 1
    assert (again.folder / "epochs.parquet").read_bytes() == (whole.folder / "epochs.parquet").read_bytes()


def test_a_finished_training_is_read_not_repeated(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = replace(PROTOCOL, epochs=1)
    first = evaluation_rows([DARTS_V2, DARTS_V2], protocol, data, place(tmp_path))
    monkeypatch.setattr(Training, "train", None)
    assert evaluation_rows([DARTS_V2], replace(protocol, seeds=(0,)), data, place(tmp_path)) == first
    assert [(row["split"], row["seed"], row["n"]) for row in first] == [
        ("valid", "mean", 1),
        ("valid", "0", 1),
        ("test", "mean", 1),
        ("test", "0", 1),
    ]


def test_seed_protocol_data_and_genotype_make_another_record(data: Dataset, tmp_path: Path) -> None:
    def name(genotype: str = DARTS_V2, protocol: CellEvaluationConfig = PROTOCOL, seed: int = 0) -> str:
        return Training(genotype, protocol, data, seed, place(tmp_path)).folder.name

    names = [name(), name(seed=1), name(DARTS_PT["darts_pt_s1_1"]), name(protocol=replace(PROTOCOL, drop_path=0.1))]
    assert len(set(names)) == 4
    assert name(protocol=replace(PROTOCOL, seeds=(0, 1, 2))) == name()


def test_drop_path_grows_linearly_and_the_rate_ends_near_zero(data: Dataset, tmp_path: Path) -> None:
    training = Training(DARTS_V2, replace(PROTOCOL, epochs=4, drop_path=0.2), data, 0, place(tmp_path))
    seen: list[float] = []
    original = training.train_epoch
    training.train_epoch = lambda: (seen.append(training.network.stages[0].drop_path), original())[1]  # type: ignore[method-assign]
    training.result()
    assert seen == pytest.approx([0.0, 0.05, 0.1, 0.15])
    rates = read_table(training.folder, "epochs")["learning_rate"].tolist()
    cosine = [0.001 + (0.1 - 0.001) * (1 + np.cos(np.pi * t / 4)) / 2 for t in range(4)]
    assert rates == pytest.approx(cosine)


def test_the_auxiliary_loss_reaches_the_head(data: Dataset, tmp_path: Path) -> None:
    training = Training(DARTS_V2, replace(PROTOCOL, epochs=1), data, 0, place(tmp_path))
    training.set_up()
    assert training.network.auxiliary is not None
    before = training.network.auxiliary.classifier.weight.detach().clone()
    training.train_epoch()
    assert not torch.equal(before, training.network.auxiliary.classifier.weight)
    plain = Training(DARTS_V2, replace(PROTOCOL, auxiliary_weight=0.0), data, 0, place(tmp_path))
    plain.set_up()
    assert plain.network.auxiliary is None


def test_both_halves_together_leave_no_validation_accuracy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def part(n: int) -> ImageSet:
        images = torch.from_numpy(rng.integers(0, 256, (n, 3, 8, 8), dtype=np.uint8))
        return ImageSet(images, torch.arange(n) % 10, lambda x, _: x.float() / 255, lambda x: x.float() / 255)

    data = Dataset(INFOS["cifar10"], part(20), part(30), part(10), "0" * 64, "made up")
    protocol = replace(PROTOCOL, images="train+valid", epochs=1, cutout=4)
    joined = training_images(data, protocol)
    assert len(joined.images) == len(joined.labels) == 50
    augmented = joined.augment(joined.images[:5], torch.Generator().manual_seed(0))
    assert (augmented == 0).any()
    rows = evaluation_rows([DARTS_V2], protocol, data, place(tmp_path))
    assert {row["split"] for row in rows} == {"test"}


def test_digits_cannot_join_their_halves_and_damaged_records_are_named(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be joined"):
        training_images(data, replace(PROTOCOL, images="train+valid"))
    training = Training(DARTS_V2, PROTOCOL, data, 0, place(tmp_path))
    training.folder.mkdir(parents=True)
    (training.folder / "checkpoint.pt").write_bytes(b"half")
    with pytest.raises(UserError, match=r"checkpoint.pt is damaged"):
        training.result()
    (training.folder / "evaluation.json").write_text('{"result": {}}')
    with pytest.raises(UserError, match=r"evaluation.json is damaged"):
        training.result()


def test_a_diverged_training_says_so(data: Dataset, tmp_path: Path) -> None:
    protocol = replace(PROTOCOL, weights=SGDConfig(lr=1e9, grad_clip=None), epochs=3)
    with pytest.raises(UserError, match=r"diverged; lower evaluation.weights.lr"):
        Training(DARTS_V2, protocol, data, 0, place(tmp_path)).result()
