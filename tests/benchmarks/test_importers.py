"""Official files, and files made like them, import to what their own packages answer; damaged ones leave nothing."""

from __future__ import annotations

import bz2
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from itnas.benchmarks import MissingValue, NASBench101Table, NASBench201Table, NotInSource
from itnas.benchmarks.importers import Format, import_files, recognise
from itnas.benchmarks.schema201 import benchmark_order
from itnas.errors import UserError
from tests.benchmarks.makers import pth_content, schedules

INDICES = (0, 11, 284)
QUERY: dict[str, Any] = {"dataset": "cifar10-valid", "split": "valid", "epochs": 200, "seed": "mean"}


def save_legacy(content: object, path: Path) -> None:
    """Write as torch.save did before 1.6: four pickles in a row, then no tensors."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, [])
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))


def save_zip(content: object, path: Path) -> None:
    """Write as torch.save does since 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, 2))
        archive.writestr("archive/version", "3\n")


def save_simple(folder: Path, indices: tuple[int, ...], rng: np.random.Generator) -> dict[int, dict[str, Any]]:
    """Write a NATS-Bench "simple" archive."""
    folder.mkdir()
    content = {index: schedules(index, rng, ("12", "200")) for index in indices}
    for index, state in content.items():
        (folder / f"{index:06d}.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(state, 4)))
    meta = {
        "meta_archs": list(benchmark_order()),
        "total_archs": 15_625,
        "arch2infos": None,
        "evaluated_indexes": set(),
    }
    (folder / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(meta, 4)))
    return content


def expected(state: dict[str, Any], dataset: str, name: str, seed: int | None) -> float:
    """Return an accuracy straight from a made-up state: one seed, or the mean of all."""
    seeds = state["dataset_seed"][dataset] if seed is None else [seed]
    values = [
        state["all_results"][dataset, s]["eval_acc1es"][f"{name}@{state['all_results'][dataset, s]['epochs'] - 1}"]
        for s in seeds
    ]
    return float(np.mean(values))


def check_against_state(table: NASBench201Table, index: int, less: dict[str, Any], full: dict[str, Any]) -> None:
    arch = benchmark_order()[index]

    def value(dataset: Any, split: Any, epochs: Any, seed: Any) -> float:
        return table.lookup(arch, dataset=dataset, split=split, epochs=epochs, seed=seed)

    assert value("cifar10-valid", "valid", 200, 999) == expected(full, "cifar10-valid", "x-valid", 999)
    assert value("cifar10-valid", "valid", 200, "mean") == expected(full, "cifar10-valid", "x-valid", None)
    assert value("cifar10", "test", 200, "mean") == expected(full, "cifar10", "ori-test", None)
    assert value("cifar100", "valid", 200, 777) == expected(full, "cifar100", "x-valid", 777)
    assert value("cifar100", "test", 200, 777) == expected(full, "cifar100", "x-test", 777)
    assert value("cifar100", "valtest", 200, 777) == expected(full, "cifar100", "ori-test", 777)
    assert value("imagenet16-120", "test", 200, 888) == expected(full, "ImageNet16-120", "x-test", 888)
    assert value("cifar10-valid", "valid", 12, 111) == expected(less, "cifar10-valid", "x-valid", 111)
    assert value("cifar10-valid", "valid", 12, "mean") == expected(less, "cifar10-valid", "x-valid", None)
    assert value("cifar10", "test", 12, "mean") == expected(less, "cifar10", "ori-test", 111)
    assert table.count(arch, **QUERY) == 3
    assert table.count(arch, dataset="cifar10", split="test", epochs=200, seed="mean") == 2
    assert table.train_seconds(arch, dataset="cifar10", epochs=12) == pytest.approx(12 * 1.611)
    with pytest.raises(NotInSource):  # no made-up CIFAR-10 training has seed 999
        value("cifar10", "test", 200, 999)


@pytest.mark.data
@pytest.mark.parametrize("packed", ["folder", "tar", "tar.gz"])
def test_the_official_samples_agree_with_the_real_table_seed_by_seed(
    samples: Path, data: Path, tmp_path: Path, packed: str
) -> None:
    source = samples
    if packed != "folder":
        source = tmp_path / f"{samples.name}.{packed}"
        with tarfile.open(source, "w:gz" if packed == "tar.gz" else "w") as archive:
            archive.add(samples, samples.name)
    path, provenance = import_files([source], tmp_path, partial=True)
    assert provenance.benchmark_version == "NATS-Bench TSS v1.0 (3ffb9)"
    got = pd.read_parquet(path).set_index("index").loc[list(INDICES)]
    real = pd.read_parquet(data / "nas-bench-201" / "table.parquet").set_index("index").loc[list(INDICES)]
    seeds = [f"{name}_{seed}" for name in ("c10_valid", "c100_valtest", "in16_valtest") for seed in (777, 888, 999)]
    for name in seeds:
        np.testing.assert_allclose(got[name], real[name], rtol=0, atol=1e-12, err_msg=name)
    means = [c for c in real.columns if c.endswith(("_mean", "_e12")) and c != "c10_train_acc_mean"]
    costs = [c for c in real.columns if c.startswith(("params", "flops", "train_time")) or c == "c10_traincost_e12_s"]
    assert len(means) == 14
    assert len(costs) == 10
    for name in [*means, *costs]:
        np.testing.assert_allclose(got[name], real[name], rtol=0, atol=1e-7, err_msg=name)
    for name in ("arch", "ops", "unique_string", "n_seeds"):
        assert list(got[name]) == list(real[name])


@pytest.mark.parametrize("kind", ["legacy", "zip", "folder", "bz2"])
def test_a_made_up_benchmark_file_imports_to_its_own_numbers(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    content = pth_content(INDICES, rng)
    path = tmp_path / "source"
    names = ("less", "full")
    infos = content["arch2infos"]
    if kind in ("legacy", "zip"):
        (save_legacy if kind == "legacy" else save_zip)(content, path)
    elif kind == "folder":
        infos, names = save_simple(path, INDICES, rng), ("12", "200")
    else:
        content["arch2infos"] = {i: {"12": s["less"], "200": s["full"]} for i, s in infos.items()}
        path.write_bytes(bz2.compress(pickle.dumps(content, 4)))
    table_path, provenance = import_files([path], tmp_path, partial=True)
    table = NASBench201Table.open(tmp_path)
    assert table.path == table_path
    assert provenance == table.provenance
    assert provenance.architectures == 3
    for index in INDICES:
        check_against_state(table, index, infos[index][names[0]], infos[index][names[1]])
    with pytest.raises(MissingValue, match="none at all"):
        table.lookup(benchmark_order()[5], **QUERY)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pth_written_with_the_benchmarks_own_classes_agrees_with_its_own_answers(
    tmp_path: Path, legacy: bool
) -> None:
    torch = pytest.importorskip("torch")
    api_module = pytest.importorskip("nas_201_api", reason="pip install --no-deps nas-bench-201")
    rng = np.random.default_rng(1)
    content = pth_content(INDICES, rng)
    for infos in content["arch2infos"].values():  # through the package's classes, as its authors wrote the file
        for name, state in infos.items():
            results = api_module.ArchResults(state["arch_index"], state["arch_str"])
            for (dataset, seed), training in state["all_results"].items():
                results.update(dataset, seed, api_module.ResultsCount.create_from_state_dict(training))
            infos[name] = results.state_dict()
    path = tmp_path / "bench.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    import_files([path], tmp_path, partial=True)
    table = NASBench201Table.open(tmp_path)
    api = api_module.NASBench201API(content, verbose=False)
    asked = 0
    for index in INDICES:
        arch = benchmark_order()[index]
        for hp, epochs in (("12", 12), ("200", 200)):
            for theirs, dataset, split, key in (
                ("cifar10-valid", "cifar10-valid", "valid", "valid-accuracy"),
                ("cifar10", "cifar10", "test", "test-accuracy"),
                ("cifar100", "cifar100", "valid", "valid-accuracy"),
                ("cifar100", "cifar100", "test", "test-accuracy"),
                ("cifar100", "cifar100", "valtest", "valtest-accuracy"),
                ("ImageNet16-120", "imagenet16-120", "test", "test-accuracy"),
            ):
                seeds = api.query_meta_info_by_index(index, hp).get_dataset_seeds(theirs)
                for seed in (False, *seeds):
                    answer = api.get_more_info(index, theirs, None, hp=hp, is_random=seed)[key]
                    ours: Any = {"dataset": dataset, "split": split, "epochs": epochs, "seed": seed or "mean"}
                    assert table.lookup(arch, **ours) == answer
                    asked += 1
                cost = api.get_cost_info(index, theirs, hp=hp)
                named: Any = {"dataset": dataset}
                assert table.params(arch, **named) == pytest.approx(cost["params"], rel=1e-14)
                assert table.flops(arch, **named) == pytest.approx(cost["flops"], rel=1e-14)
                assert table.train_seconds(arch, **named, epochs=epochs) == pytest.approx(cost["T-train@total"])  # type: ignore[arg-type]
    assert asked == 3 * (13 + 21)  # per schedule: the mean and every seed of six pairs


def test_architectures_that_share_parts_in_memory_are_read_all_the_same(tmp_path: Path) -> None:
    content = pth_content((0, 1), np.random.default_rng(2))
    first, second = (content["arch2infos"][i]["full"]["all_results"] for i in (0, 1))
    second["cifar10", 777]["eval_acc1es"] = first["cifar10", 777]["eval_acc1es"]  # one object, referred to twice
    save_legacy(content, tmp_path / "shared.pth")
    import_files([tmp_path / "shared.pth"], tmp_path, partial=True)
    table = NASBench201Table.open(tmp_path)
    values = [table.lookup(benchmark_order()[i], dataset="cifar10", split="test", epochs=200, seed=777) for i in (0, 1)]
    assert values[0] == values[1] == first["cifar10", 777]["eval_acc1es"]["ori-test@199"]


class Payload:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("kind", ["pickle", "legacy", "zip", "folder", "bz2", "tar"])
def test_a_malicious_pickle_is_refused_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    written = tmp_path / "written"
    bad = {"arch2infos": {0: Payload(f"touch {written}")}}
    source, data_dir = tmp_path / "source", tmp_path / "data"
    data_dir.mkdir()
    if kind == "pickle":
        source.write_bytes(pickle.dumps(bad, 4))
    elif kind in ("legacy", "zip"):
        (save_legacy if kind == "legacy" else save_zip)(bad, source)
    elif kind == "bz2":
        source.write_bytes(bz2.compress(pickle.dumps(bad, 4)))
    else:
        save_simple(tmp_path / "archive", (0,), np.random.default_rng(0))
        (tmp_path / "archive" / "000001.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(bad, 4)))
        source = tmp_path / "archive"
        if kind == "tar":
            source = tmp_path / "archive.tar"
            with tarfile.open(source, "w") as archive:
                archive.add(tmp_path / "archive", "archive")
    with pytest.raises(UserError, match=r"posix\.system, which is not plain data; it was refused and nothing was run"):
        import_files([source], data_dir, partial=True)
    assert not written.exists()
    assert list(data_dir.iterdir()) == []


def sentence(error: BaseException) -> str:
    """Return the message if it is one sentence."""
    text = str(error)
    assert "\n" not in text
    assert len(text) < 500
    return text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.pth", b"", "is empty"),
        ("noise.bin", b"\x07" * 5000, "no file that can be imported"),
        ("page.tar", b"<!DOCTYPE html><html><body>Quota exceeded</body></html>", "web page"),
        ("table.parquet", b"PAR1" + b"\0" * 100, "parquet table already"),
        ("list.pkl", pickle.dumps([1, 2], 4), "not one of NASLib's"),
        ("other.pkl", pickle.dumps({"a": 1}, 4), "not one of NASLib's"),
        ("cut.pkl", pickle.dumps({"a": list(range(1000))}, 4)[:500], "truncated"),
        (
            "meta.pbz2",
            bz2.compress(pickle.dumps({"meta_archs": ["64:64:64:64:64"], "arch2infos": {}}, 4)),
            "topology space",
        ),
        ("cut.pbz2", bz2.compress(b"x" * 100_000)[:40], "damaged"),
        ("empty.csv", b"arch,c10_valid_mean\n", "0 of 15,625"),
        ("header.csv", b"arch,accuracy\n|a|,1\n", "unknown column 'accuracy'"),
        ("text.csv", b"arch,c10_valid_mean\n0,high\n", "other than numbers"),
        ("arch.csv", b"arch,c10_valid_mean\n|oops~0|,50\n", "line 2"),
        ("twice.csv", b"arch,c10_valid_mean\n7,50\n7,50\n", "twice"),
        ("fractions.csv", b"arch,c10_valid_mean\n7,0.9\n", "in percent"),
        ("percent.csv", b"hash,n_vertices,adj_bits,ops,test_acc_108_mean\n" + b"0" * 32 + b",2,1,,93\n", "hash"),
    ],
)
def test_wrong_empty_and_truncated_files_are_one_sentence_and_leave_nothing(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    source, data_dir = tmp_path / name, tmp_path / "data"
    data_dir.mkdir()
    source.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        import_files([source], data_dir)
    assert str(source) in sentence(caught.value)
    assert list(data_dir.iterdir()) == []


def test_missing_files_and_folders_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        import_files([tmp_path / "missing"], tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="no NATS-Bench archive"):
        import_files([tmp_path / "folder"], tmp_path)


@pytest.mark.parametrize("cut", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["legacy", "zip", "bz2", "tar"])
def test_truncated_benchmark_files_leave_nothing(tmp_path: Path, kind: str, cut: float) -> None:
    rng = np.random.default_rng(0)
    whole, data_dir = tmp_path / "whole", tmp_path / "data"
    data_dir.mkdir()
    if kind == "tar":
        save_simple(tmp_path / "archive", (0, 1), rng)
        with tarfile.open(whole, "w") as archive:
            archive.add(tmp_path / "archive", "archive")
        cut = min(cut, 0.9)  # the end of a tar file is padding
    elif kind == "bz2":
        whole.write_bytes(bz2.compress(pickle.dumps(pth_content((0, 1), rng), 4)))
    else:
        (save_legacy if kind == "legacy" else save_zip)(pth_content((0, 1), rng), whole)
    content = whole.read_bytes()
    broken = tmp_path / "broken"
    broken.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises(UserError) as caught:
        import_files([broken], data_dir, partial=True)
    sentence(caught.value)
    assert list(data_dir.iterdir()) == []


def test_a_name_that_states_another_md5_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "NAS-Bench-201-v1_1-096897.pth"
    save_legacy(pth_content((0,), np.random.default_rng(0)), source)
    with pytest.raises(UserError, match=r"md5 .* ends with 096897"):
        import_files([source], tmp_path, partial=True)


def test_an_incomplete_file_needs_partial_and_an_existing_table_needs_force(tmp_path: Path) -> None:
    source = tmp_path / "bench.pth"
    save_legacy(pth_content((3,), np.random.default_rng(0)), source)
    with pytest.raises(UserError, match="holds 1 of 15,625 architectures"):
        import_files([source], tmp_path)
    path, _ = import_files([source], tmp_path, partial=True)
    before = path.read_bytes()
    with pytest.raises(UserError, match="exists already; replace it with --force"):
        import_files([source], tmp_path, partial=True)
    assert path.read_bytes() == before
    import_files([source], tmp_path, partial=True, force=True)
    assert path.read_bytes() == before  # importing is deterministic
    assert [entry.name for entry in path.parent.iterdir()] == ["table.parquet"]


def test_an_architecture_at_the_wrong_index_is_refused(tmp_path: Path) -> None:
    content = pth_content((3,), np.random.default_rng(0))
    content["arch2infos"][3]["full"]["arch_str"] = benchmark_order()[4]
    save_legacy(content, tmp_path / "wrong.pth")
    with pytest.raises(UserError, match="at index 3"):
        import_files([tmp_path / "wrong.pth"], tmp_path, partial=True)


def naslib_results(images: int, rng: np.random.Generator) -> dict[str, Any]:
    curve = (rng.integers(0, images, 200) / images * 100).tolist()
    costs = {"flops": 15.6, "params": 0.129, "latency": 0.01, "train_time": 1444.2}
    return {
        "train_acc1es": curve,
        "eval_acc1es": curve,
        "train_losses": curve,
        "eval_losses": curve,
        "cost_info": costs,
    }


def naslib_file(path: Path, dataset: str, images: int) -> dict[str, Any]:
    rng = np.random.default_rng(images)
    content = {arch: {dataset: naslib_results(images, rng)} for arch in benchmark_order()[:300]}
    path.write_bytes(pickle.dumps(content, 4))
    return content


def test_naslibs_pickles_go_side_by_side_with_their_seed_unnamed(tmp_path: Path) -> None:
    paths = [tmp_path / f"nb201_{name}_full_training.pickle" for name in ("cifar10", "cifar100", "ImageNet16")]
    first = naslib_file(paths[0], "cifar10-valid", 25_000)
    second = naslib_file(paths[1], "cifar100", 5_000)
    naslib_file(paths[2], "ImageNet16-120", 6_000)
    with pytest.raises(UserError, match="whether its accuracies on cifar100 are valid or test; state it with --split"):
        import_files(paths, tmp_path, partial=True)
    _, provenance = import_files(paths, tmp_path, partial=True, split="valid")
    assert [source.file for source in provenance.sources] == [path.name for path in paths]
    assert "not named" in provenance.notes[0]
    table = NASBench201Table.open(tmp_path)
    arch = benchmark_order()[17]
    unnamed: Any = {"epochs": 200, "seed": "unnamed"}
    value = table.lookup(arch, dataset="cifar10-valid", split="valid", **unnamed)
    assert value == first[arch]["cifar10-valid"]["eval_acc1es"][-1]
    assert table.count(arch, dataset="cifar10-valid", split="valid", **unnamed) == 1
    assert (
        table.lookup(arch, dataset="cifar100", split="valid", **unnamed) == second[arch]["cifar100"]["eval_acc1es"][-1]
    )
    assert table.lookup(arch, dataset="imagenet16-120", split="valtest", **unnamed) > 0
    assert table.params(arch, dataset="cifar10-valid") == 0.129
    with pytest.raises(NotInSource, match="it has unnamed"):  # one training is not passed off as the mean
        table.lookup(arch, **QUERY)


def test_naslibs_test_accuracies_of_half_trained_networks_are_refused(tmp_path: Path) -> None:
    naslib_file(tmp_path / "a.pickle", "cifar10-valid", 10_000)
    with pytest.raises(UserError, match="nobody reports"):
        import_files([tmp_path / "a.pickle"], tmp_path, partial=True)


def test_naslibs_nas_bench_101_pickle_imports(tmp_path: Path) -> None:
    digest = "00005c142e6f48ac74fdcf73e3439874"
    matrix = np.zeros((2, 2), np.int8)
    matrix[0, 1] = 1
    runs = [
        {"halfway_training_time": 1.0, "final_training_time": 100.0 + r, "final_train_accuracy": 0.99}
        | {"final_validation_accuracy": 0.9 + r / 100, "final_test_accuracy": 0.8 + r / 100}
        for r in range(3)
    ]
    fixed = {"module_adjacency": matrix, "module_operations": ["input", "output"], "trainable_parameters": 12_345}
    path = tmp_path / "nasbench_only108.pkl"
    path.write_bytes(pickle.dumps({digest: (fixed, {108: runs})}, 4))
    import_files([path], tmp_path, partial=True)
    table = NASBench101Table.open(tmp_path)
    assert table.lookup(digest, dataset="cifar10", split="valid", epochs=108, repeat=2) == pytest.approx(92)
    assert table.lookup(digest, dataset="cifar10", split="test", epochs=108, repeat="mean") == pytest.approx(81)
    assert table.count(digest, dataset="cifar10", split="test", epochs=108, repeat="mean") == 3
    assert table.params(digest) == 12_345
    assert table.train_seconds(digest, epochs=108, repeat=1) == 101.0


def test_a_csv_imports_with_missing_values_missing(made_up: NASBench201Table) -> None:
    archs = benchmark_order()
    test: Any = {"dataset": "cifar10", "split": "test", "epochs": 200, "seed": "mean"}
    assert made_up.lookup(archs[10_000], **QUERY) == 50.0
    assert made_up.lookup(archs[10_000], **test) == 51.0
    assert made_up.optimum(**test) == (15_624 / 200 + 1, 15_624, archs[15_624])
    assert made_up.rank(archs[15_000], **QUERY) == (625, 15_625)
    assert made_up.rank(archs[15_000], **{**QUERY, "seed": 999}) == (313, 7_813)
    with pytest.raises(MissingValue, match=r"seed 999 .* it has mean, 777"):
        made_up.lookup(archs[1], **{**QUERY, "seed": 999})
    assert (made_up.count(archs[0], **QUERY), made_up.count(archs[1], **QUERY)) == (2, 1)
    assert made_up.count(archs[0], **test) is None
    assert made_up.params(archs[3], dataset="cifar10") == 4.0
    with pytest.raises(NotInSource, match="FLOPs"):
        made_up.flops(archs[3], dataset="cifar10")
    with pytest.raises(NotInSource, match="cifar100 valid"):
        made_up.reference()


def test_formats_are_recognised_by_content_not_by_name(tmp_path: Path) -> None:
    path = tmp_path / "download"
    save_legacy({}, path)
    assert recognise(path) is Format.PTH
    save_zip({}, path)
    assert recognise(path) is Format.PTH
    path.write_bytes(pickle.dumps({}, 3))
    assert recognise(path) is Format.NASLIB
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a/000000.pickle.pbz2"), io.BytesIO())
    assert recognise(path) is Format.NATS_TAR
    path.write_text("index,arch,c10_valid_mean\n")
    assert recognise(path) is Format.CSV


@pytest.mark.data
def test_the_order_of_the_architectures_is_the_official_files(samples: Path) -> None:
    meta = pickle.loads(bz2.decompress((samples / "meta.pickle.pbz2").read_bytes()))
    assert tuple(meta["meta_archs"]) == benchmark_order()


def test_a_full_disk_or_a_forbidden_folder_is_one_sentence(tmp_path: Path, made_up_csv: Path) -> None:
    blocked = tmp_path / "nas-bench-201"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write"):
        import_files([made_up_csv], tmp_path)
