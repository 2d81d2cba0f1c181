"""``itnas evaluate``: train the stand-alone network of a genotype, the found or a published one, and record its accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from itnas.errors import UserError


@dataclass(frozen=True)
class EvaluateArguments:
    """Train a genotype's network from scratch. Further options after `--` override single settings of the protocol."""

    run: tyro.conf.Positional[Path | None] = None
    """Folder of a finished search whose genotype to train (and whose images, unless --protocol is given)."""
    genotype: str | None = None
    """Instead of a run: the published text, Genotype(normal=[('op', source), ...], normal_concat=range(2, 6), ...)."""
    protocol: str | None = None
    """paper-20x36 or paper-8x16 (cells x channels; a GPU), cifar10-small or digits; by default the run's own."""
    dataset: str | None = None
    """Data set; by default the protocol's."""
    seeds: tuple[int, ...] | None = None
    """Training seeds, separate from the search seed; by default the protocol's."""
    results: Path = Path("results")
    """Folder of all records."""
    study: str = "evaluation"
    """Study the trainings belong to: a sub-folder of the results."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int = 1
    """Torch threads on the CPU."""


def evaluate_main(arguments: list[str]) -> None:
    """Train and print the accuracies and where the records are."""
    from itnas.cli import parse_arguments, split_arguments

    head, _, tail = split_arguments(arguments)
    chosen = parse_arguments(EvaluateArguments, head, "itnas evaluate", EvaluateArguments.__doc__ or "")
    import dataclasses

    import torch

    from itnas.benchmarks import data_root
    from itnas.data.load import load_data
    from itnas.environment import check_device
    from itnas.protocols import get_protocol
    from itnas.records import read_meta
    from itnas.training import Training, TrainingPlace

    if (chosen.run is None) == (chosen.genotype is None):
        raise UserError("name either the folder of a finished search or a --genotype")
    genotype, preset = chosen.genotype, None
    if chosen.run is not None:
        meta = read_meta(chosen.run)
        if meta["status"] != "finished":
            raise UserError(f"{chosen.run} is {meta['status']}; only a finished search has a genotype to train")
        genotype, preset = meta["result"]["genotype"], meta["preset"].removesuffix("-smoke")
    assert genotype is not None
    protocol, data = get_protocol(chosen.protocol or preset or "digits")
    if chosen.seeds is not None:
        protocol = dataclasses.replace(protocol, seeds=chosen.seeds)
    if chosen.dataset is not None:
        data = dataclasses.replace(data, dataset=chosen.dataset)
    if tail:
        protocol = parse_arguments(protocol, tail, "itnas evaluate ... --", "Settings of the protocol.")
    check_device(chosen.device)
    torch.set_num_threads(chosen.threads)
    images = load_data(data, data_root())
    place = TrainingPlace(chosen.results / chosen.study / "evaluations", chosen.device)
    for seed in protocol.seeds:
        training = Training(genotype, protocol, images, seed, place)
        result = training.result()
        print(f"record: {training.folder}\nparameters: {result['parameters']:.3f} M")
        for split in ("valid", "test"):
            if result[f"{split}_accuracy"] is not None:
                print(f"{images.info.name}/{split}, seed {seed}: {result[f'{split}_accuracy']:.2f} %")
