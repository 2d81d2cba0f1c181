"""The embedded data set is what its description says."""

from __future__ import annotations

import torch

from itnas.data import digits
from itnas.data.images import Loader, place


def test_sizes_and_five_fixed_copies() -> None:
    data = digits.load()
    assert [len(p.images) for p in (data.train, data.valid, data.test)] == [800, 5 * 400, 5 * 597]
    again = digits.load()
    assert torch.equal(data.valid.images, again.valid.images)
    assert data.checksum == again.checksum
    first, second = data.valid.images[:400], data.valid.images[400:800]
    assert torch.equal(data.valid.labels[:400], data.valid.labels[400:800])
    assert not torch.equal(first, second)


def test_every_class_has_its_share_and_no_image_is_in_two_parts() -> None:
    data = digits.load()
    shares = torch.bincount(data.train.labels) / 800
    assert torch.allclose(shares, torch.full((10,), 0.1), atol=0.01)
    from sklearn.datasets import load_digits

    assert len(load_digits().data) == 800 + 400 + 597  # type: ignore[attr-defined]


def test_noise_has_unit_standard_deviation_and_the_background_its_value() -> None:
    data = digits.load()
    generator = torch.Generator().manual_seed(0)
    blank = torch.zeros(2000, 1, 8, 8, dtype=torch.uint8)
    x = data.train.augment(blank, generator)
    assert x.shape == (2000, 1, 12, 12)
    assert abs(x.mean().item() - (0 - 0.2) / 0.35) < 0.01
    assert abs(x.std().item() - 1) < 0.01


def test_training_images_are_fresh_every_epoch_and_validation_ones_are_not() -> None:
    data, generator = digits.load(), torch.Generator().manual_seed(0)
    image = data.train.images[:1]
    a, b = data.train.augment(image, generator), data.train.augment(image, generator)
    assert not torch.equal(a, b)
    assert torch.equal(data.valid.clean(data.valid.images[:3]), data.valid.images[:3])


def test_paste_puts_the_image_at_its_offset_and_zeros_elsewhere() -> None:
    image = torch.arange(1, 65, dtype=torch.uint8).reshape(1, 1, 8, 8)
    canvas = digits.paste(image, torch.tensor([3]), torch.tensor([1]))
    assert torch.equal(canvas[0, 0, 3:11, 1:9], image[0, 0])
    assert canvas.sum() == image.sum()


def test_loader_yields_every_image_once_and_repeats_with_the_same_generator_state() -> None:
    data = digits.load()
    epochs = []
    for _ in range(2):
        loader = Loader(data.valid, data.info, 300, torch.Generator().manual_seed(4), "cpu")
        epochs.append([(x, y) for x, y in loader])
    assert [len(y) for _, y in epochs[0]] == [300] * 6 + [200]
    assert all(torch.equal(a[0], b[0]) for a, b in zip(*epochs, strict=True))
    seen = torch.cat([x.flatten(1).sum(1) for x, _ in epochs[0]]).sort().values
    assert torch.allclose(seen, data.valid.images.flatten(1).sum(1).sort().values, atol=1e-3)


def test_clean_and_frozen_are_in_order_and_repeatable() -> None:
    data = digits.load()
    loader = Loader(data.train, data.info, 32, torch.Generator().manual_seed(0), "cpu")
    state = loader.generator.get_state()
    a, b = loader.frozen(50), loader.frozen(50)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, loader.labels[:50])
    assert torch.equal(loader.generator.get_state(), state)
    assert sum(len(y) for _, y in loader.clean(30, 70)) == 70
    assert torch.equal(loader.first(5).labels, loader.labels[:5])


def test_place_mirrors_and_cuts_like_a_loop() -> None:
    images = torch.arange(2 * 1 * 5 * 6).reshape(2, 1, 5, 6)
    out = place(images, torch.tensor([1, 0]), torch.tensor([2, 3]), 3, 3, torch.tensor([False, True]))
    assert torch.equal(out[0], images[0, :, 1:4, 2:5])
    assert torch.equal(out[1], images[1, :, 0:3, 3:6].flip(-1))
