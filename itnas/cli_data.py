"""``itnas data`` and ``itnas query``: bring benchmark tables in, say what is there, and look numbers up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

import tyro
from tyro.conf import Positional, subcommand

from itnas.benchmarks import data_root
from itnas.benchmarks.canonical import read_cell
from itnas.benchmarks.download import DOWNLOADS, fetch
from itnas.benchmarks.graphs import Graph
from itnas.benchmarks.importers import import_files
from itnas.benchmarks.nasbench1shot1 import NASBench1Shot1Table
from itnas.benchmarks.nasbench101 import GRAPHS, NASBench101Table
from itnas.benchmarks.nasbench201 import NASBench201Table
from itnas.benchmarks.schema201 import CELLS
from itnas.benchmarks.tables import Provenance, content_sha256, open_parquet, read_columns
from itnas.errors import UserError
from itnas.spaces.nasbench1shot1 import space_of

TABLES = {NASBench201Table.name: NASBench201Table, NASBench101Table.name: NASBench101Table}
"""Table classes by their folder in the data folder."""
ARCHITECTURES = {NASBench201Table.name: CELLS, NASBench101Table.name: GRAPHS}
"""How many architectures each benchmark has."""


@dataclass(frozen=True)
class Import:
    """Convert official benchmark files into the compact table of the data folder.

    Recognised by content: NATS-Bench TSS "simple" archives (folder or tar) and its single .pickle.pbz2, NAS-Bench-201
    v1.0 and v1.1 .pth, NAS-Bench-101 .tfrecord, NASLib's pickles of both, and CSV. Pickles are read as data: nothing in
    them is executed.
    """

    files: Positional[tuple[Path, ...]]
    """A file or unpacked folder; or several of NASLib's NAS-Bench-201 pickles, which hold one data set each."""
    data_dir: Path | None = None
    """The data folder; by default the one that ITNAS_DATA names."""
    partial: bool = False
    """Accept a file that lacks architectures; they stay missing."""
    force: bool = False
    """Replace an existing table."""
    split: Literal["valid", "test"] | None = None
    """What the accuracies of NASLib's CIFAR-100 and ImageNet16-120 pickles are; those files do not say."""

    def run(self) -> None:
        """Import and say what came out."""
        if not self.files:
            raise UserError("name the file to import, for example `itnas data import NATS-tss-v1_0-3ffb9-simple.tar`")
        root = _data_dir(self.data_dir)
        path, provenance = import_files(self.files, root, partial=self.partial, force=self.force, split=self.split)
        print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
        print(_describe(provenance))


@dataclass(frozen=True)
class Download:
    """Fetch an official file, verify its checksum, and import it. A download that stopped is continued."""

    name: Positional[Literal[tuple(DOWNLOADS)]]  # type: ignore[valid-type]
    """What to fetch; `itnas data list` says how large it is."""
    data_dir: Path | None = None
    """The data folder; by default the one that ITNAS_DATA names. The file is kept in its folder `downloads`."""
    force: bool = False
    """Replace an existing table."""

    def run(self) -> None:
        """Download, then import."""
        root = _data_dir(self.data_dir)
        path = fetch(self.name, root / "downloads")
        print(f"fetched {path} ({path.stat().st_size / 1e6:.0f} MB); it can be deleted once the table is there")
        Import((path,), root, force=self.force).run()


@dataclass(frozen=True)
class List:
    """Say which tables are in the data folder and where they come from, and what can be downloaded."""

    data_dir: Path | None = None
    """The data folder; by default the one that ITNAS_DATA names."""

    def run(self) -> None:
        """Print one paragraph per table."""
        root = _data_dir(self.data_dir)
        for name, kind in TABLES.items():
            path = root / name / "table.parquet"
            if not path.exists():
                print(f"{name}: not there ({path})")
                continue
            table = kind.open(path)
            known = table.provenance.architectures if table.provenance else len(table)
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            print(f"{name}: {known:,} of {ARCHITECTURES[name]:,} architectures, {size}, {path}")
            print(_describe(table.provenance))
            print(f"  sha256 {table.sha256}")
        print("\nitnas data download NAME fetches and imports:")
        for name, item in DOWNLOADS.items():
            print(f"  {name:22} {item.file:32} {item.bytes / 1e9:.2g} GB  {item.page}")


@dataclass(frozen=True)
class Verify:
    """Check that the tables of the data folder are intact: every value against the checksum stored at import."""

    data_dir: Path | None = None
    """The data folder; by default the one that ITNAS_DATA names."""

    def run(self) -> None:
        """Print one line per table; the first one that is not intact is an error."""
        root = _data_dir(self.data_dir)
        found = [kind.open(path) for name, kind in TABLES.items() if (path := root / name / "table.parquet").exists()]
        if not found:
            raise UserError(f"{root} holds no benchmark table; `itnas data import FILE` makes one")
        for table in found:
            print(f"{table.name}: {verify(table.path, table.provenance)}")


def verify(path: Path, provenance: Provenance | None) -> str:
    """Return what was checked.

    Raises:
        UserError: a value differs from what was imported.
    """
    file = open_parquet(path, path)
    columns = read_columns(file, file.schema_arrow.names, path)
    if provenance is None:
        return f"readable and complete, but no importer wrote it, so its values cannot be checked ({path})"
    if content_sha256(columns) != provenance.content_sha256:
        raise UserError(f"{path} was changed after it was imported; import {provenance.sources[0].file} again")
    return f"intact, as imported from {', '.join(source.file for source in provenance.sources)} ({path})"


@dataclass(frozen=True)
class Query:
    """Print what a benchmark table says about an architecture: the value, the trainings behind it, and its rank.

    Data set, split, schedule and seed have no default: each is one of the ways in which benchmark numbers get mixed up.
    """

    arch: Positional[str]
    """A NAS-Bench-201 cell: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, a benchmark index, NASLib's six indices, or darts-pt's
    genotype. A NAS-Bench-101 graph: its 32-digit hash, or {"matrix": [[...]], "ops": [...]}. A NAS-Bench-1Shot1 cell,
    parents|operations, which is ranked among the cells of its space."""
    dataset: Literal["cifar10-valid", "cifar10", "cifar100", "imagenet16-120"]
    """On NAS-Bench-201 a search may select on cifar10-valid (trained on 25,000 images); cifar10 is what is reported."""
    split: Literal["train", "valid", "test", "valtest"]
    """valtest is the union of both halves of the test set of CIFAR-100 or ImageNet16-120."""
    epochs: int
    """Schedule: 12 or 200 (NAS-Bench-201); 4, 12, 36 or 108 (NAS-Bench-101 and 1Shot1)."""
    seed: str
    """mean; a training seed, 111, 777, 888 or 999 (NAS-Bench-201; unnamed in tables made from NASLib's files); or a
    repeat, 0, 1 or 2 (NAS-Bench-101 and 1Shot1, which name no seeds)."""
    data_dir: Path | None = None
    """The data folder; by default the one that ITNAS_DATA names."""

    def run(self) -> None:
        """Print one line."""
        root = _data_dir(self.data_dir)
        seed = int(self.seed) if self.seed.isdecimal() else self.seed
        if _is_graph(self.arch):
            graph = Graph.from_json(self.arch) if self.arch.lstrip().startswith("{") else self.arch
            table, arch = NASBench101Table.open(root), graph
            query = {"dataset": self.dataset, "split": self.split, "epochs": self.epochs, "repeat": seed}
        elif ";" in self.arch:
            table, arch = NASBench1Shot1Table.open(space_of(self.arch), root), self.arch
            query = {"dataset": self.dataset, "split": self.split, "epochs": self.epochs, "repeat": seed}
        else:
            table, arch = NASBench201Table.open(root), read_cell(self.arch)
            query = {"dataset": self.dataset, "split": self.split, "epochs": self.epochs, "seed": seed}
        value = table.lookup(arch, **query)  # type: ignore[arg-type]
        count = table.count(arch, **query)  # type: ignore[arg-type]
        rank = table.rank(arch, **query)  # type: ignore[arg-type]
        trainings = "n not stated by the source" if count is None else f"n = {count}"
        print(f"{value:.4f} %  {trainings}  rank {rank.rank:,} of {rank.of:,}")


def data_main(argv: list[str]) -> None:
    """Run ``itnas data ...``.

    Raises:
        UserError: a file or folder is missing, damaged or in the way.
    """
    command = tyro.cli(
        Annotated[Import, subcommand("import")]
        | Annotated[Download, subcommand("download")]
        | Annotated[List, subcommand("list")]
        | Annotated[Verify, subcommand("verify")],  # type: ignore[arg-type]
        prog="itnas data",
        description="Bring benchmark tables in, say what is there, and check it.",
        args=argv,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    cast(Import, command).run()


def query_main(argv: list[str]) -> None:
    """Run ``itnas query ...``.

    Raises:
        UserError: the table, the architecture or the value does not exist.
    """
    tyro.cli(Query, prog="itnas query", args=argv).run()


def _data_dir(stated: Path | None) -> Path:
    """Return the data folder.

    Raises:
        UserError: none is named, or it does not exist.
    """
    root = stated or data_root()
    if root is None:
        raise UserError("no data folder is named; set ITNAS_DATA to an existing folder, or add --data-dir FOLDER")
    if not root.is_dir():
        raise UserError(f"the data folder {root} does not exist; create it or name another one")
    return root


def _describe(provenance: Provenance | None) -> str:
    if provenance is None:
        return "  no provenance inside; no importer wrote this file"
    written = f"schema {provenance.schema_version}, written by itnas {provenance.importer_version}"
    lines = [f"  {provenance.benchmark_version}, {written}"]
    lines += [f"  from {source.file} ({source.format}), sha256 {source.sha256}" for source in provenance.sources]
    return "\n".join(lines + [f"  note: {note}" for note in provenance.notes])


def _is_graph(arch: str) -> bool:
    text = arch.strip()
    return text.startswith("{") or (len(text) == 32 and all(digit in "0123456789abcdef" for digit in text.lower()))
