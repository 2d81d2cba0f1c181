"""The DARTS space and S1 to S4: tables, derivation, genotype text in both directions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnas.errors import UserError
from itnas.spaces import get_space
from itnas.spaces.darts import EDGES, INCOMING, CellSpace
from itnas.spaces.darts_genotype import CellGenes, format_genotype, parse_genotype
from tests.spaces.published import AGNAS, AMOEBANET, DARTS_PT, DARTS_V1, DARTS_V2, ROBUST_DARTS_S1

NAMES = ("darts", "darts-no-none", "darts-stagewise", "s1", "s2", "s3", "s4")
PLAIN = ("darts", "darts-no-none", "s1", "s2", "s3", "s4")


def cell_space(name: str) -> CellSpace:
    space = get_space(name)
    assert isinstance(space, CellSpace)
    return space


def uniform(space: CellSpace) -> dict[str, np.ndarray]:
    return {group: np.full((14, len(choices[0].candidates)), 0.5) for group, choices in space.groups.items()}


def test_a_cell_has_14_edges_ordered_node_by_node() -> None:
    assert [len(edges) for edges in INCOMING] == [2, 3, 4, 5]
    assert INCOMING == ((0, 1), (2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12, 13))
    names = [choice.name for choice in cell_space("s1").groups["normal"]]
    assert names[:5] == ["2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]
    assert names[9:] == ["5<-0", "5<-1", "5<-2", "5<-3", "5<-4"]


@pytest.mark.parametrize(
    ("name", "sizes"), [("darts", 8), ("darts-no-none", 7), ("darts-stagewise", 8), ("s1", 2), ("s2", 2), ("s3", 3)]
)
def test_number_of_candidates(name: str, sizes: int) -> None:
    groups = cell_space(name).groups
    assert {len(choice.candidates) for choices in groups.values() for choice in choices} == {sizes}
    assert all(len(choices) == 14 for choices in groups.values())


def test_s2_to_s4_have_the_same_candidates_on_every_edge() -> None:
    expected = {
        "s2": ("skip_connect", "sep_conv_3x3"),
        "s3": ("none", "skip_connect", "sep_conv_3x3"),
        "s4": ("noise", "sep_conv_3x3"),
    }
    for name, operations in expected.items():
        groups = cell_space(name).groups
        assert list(groups) == ["normal", "reduce"]
        assert {choice.candidates for choices in groups.values() for choice in choices} == {operations}


def test_the_28_rows_of_s1() -> None:
    """Written out per edge in the words of the published table, apart from the code's table."""
    words = {"s": "skip_connect", "m": "max_pool_3x3", "a": "avg_pool_3x3", "c": "sep_conv_3x3"}
    words |= {"3": "dil_conv_3x3", "5": "dil_conv_5x5"}
    rows = {
        "normal": "s3 s5 s5 sc s3 ms sc sc s3 sc ms s3 35 35",
        "reduce": "ma m3 ma ma s5 ma mc s3 s5 ma ma s5 s5 s5",
    }
    for group, text in rows.items():
        expected = [tuple(words[letter] for letter in pair) for pair in text.split()]
        assert [choice.candidates for choice in cell_space("s1").groups[group]] == expected


@pytest.mark.parametrize("text", [DARTS_V1, DARTS_V2, AMOEBANET, AGNAS, *DARTS_PT.values(), *ROBUST_DARTS_S1])
def test_published_genotypes_print_as_they_were(text: str) -> None:
    assert format_genotype(parse_genotype(text)) == text


@pytest.mark.parametrize("name", NAMES)
def test_200_random_genotypes_round_trip_and_are_canonical(name: str) -> None:
    space, rng = cell_space(name), np.random.default_rng(0)
    texts = [space.random(rng, exclude_none=False) for _ in range(200)]
    assert all(format_genotype(parse_genotype(text)) == text for text in texts)
    assert all(space.canonical(text) == text for text in texts)
    assert len(set(texts)) > 190
    n_cells = len(space.groups)
    assert all(len(space.operations(text)) == 8 * n_cells for text in texts)
    assert not any("none" in space.operations(text) for text in texts)


def test_canonical_sorts_the_genes_of_a_node_and_spells_the_range() -> None:
    text = cell_space("darts").canonical(DARTS_V1)
    assert text.startswith("Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('skip_connect', 0),")
    assert text.count("range(2, 6)") == 2
    assert cell_space("darts").canonical(text) == text


def test_wrapped_text_as_in_yaml_files_is_read() -> None:
    wrapped = DARTS_V2.replace(", ", ",\n      ")
    assert parse_genotype(wrapped) == parse_genotype(DARTS_V2)


def test_robustdarts_search_logs_are_genotypes_of_s1() -> None:
    counts = [cell_space("s1").count(text, "skip_connect") for text in ROBUST_DARTS_S1]
    assert counts == [9, 8, 10]
    for text in ROBUST_DARTS_S1:
        cell_space("s1").canonical(text)


@pytest.mark.parametrize("name", sorted(DARTS_PT))
def test_darts_pt_genotypes_belong_to_their_space(name: str) -> None:
    space = cell_space(name.split("_")[2])
    assert len(space.operations(space.canonical(DARTS_PT[name]))) == 16


def test_chosen_is_the_candidate_on_kept_edges_and_empty_elsewhere() -> None:
    chosen = cell_space("darts").chosen(DARTS_V2)
    assert [len(options) for options in chosen["normal"]] == [1, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]
    assert chosen["normal"][11] == (6,)  # 5<-2 dil_conv_3x3
    assert chosen["reduce"][4] == (3,)  # 3<-2 skip_connect


def test_scores_that_favour_none_never_derive_it() -> None:
    for name in ("darts", "s3"):
        space = cell_space(name)
        scores = uniform(space)
        for array in scores.values():
            array[:, 0] = 10.0
        for exclude in (False, True):
            assert "none" not in space.operations(space.derive(scores, exclude_none=exclude))


@pytest.mark.parametrize("name", NAMES)
def test_ties_go_to_the_lower_edges_and_operations(name: str) -> None:
    space = cell_space(name)
    chosen = space.chosen(space.derive(uniform(space), exclude_none=True))
    for group, choices in space.groups.items():
        first = 1 if choices[0].candidates[0] == "none" else 0
        kept = [edge for edge, options in enumerate(chosen[group]) if options]
        assert kept == [edge for edges in INCOMING for edge in edges[:2]]
        assert all(options in ((), (first,)) for options in chosen[group])


def test_edges_are_ranked_by_their_best_operation_but_none() -> None:
    space = cell_space("s3")
    scores = uniform(space)
    scores["normal"][9:14, 0] = [9, 9, 9, 0, 0]  # none must not help an edge
    scores["normal"][9:14, 1] = [0.1, 0.4, 0.2, 0.1, 0.1]
    scores["normal"][9:14, 2] = [0.1, 0.3, 0.1, 0.1, 0.3]
    chosen = space.chosen(space.derive(scores, exclude_none=False))["normal"]
    assert chosen[9:14] == [(), (1,), (), (), (2,)]


def test_noise_may_be_derived_in_s4() -> None:
    space = cell_space("s4")
    scores = uniform(space)
    scores["normal"][:, 0] = 1.0
    assert space.count(space.derive(scores, exclude_none=True), "noise") == 8 + 8  # ties in the reduction cell too


@given(st.integers(0, 2**32 - 1))
def test_derivation_agrees_with_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = cell_space("darts")
    scores = {group: rng.integers(0, 4, (14, 8)).astype(float) for group in space.groups}  # many ties
    chosen = space.chosen(space.derive(scores, exclude_none=True))
    for group, array in scores.items():
        for node in range(2, 6):
            ranked = []
            for edge, (target, source) in enumerate(EDGES):
                if target == node:
                    value = max(array[edge][1:])
                    ranked.append((-value, source, edge, 1 + list(array[edge][1:]).index(value)))
            for place, (_, _, edge, op) in enumerate(sorted(ranked)):
                assert chosen[group][edge] == ((op,) if place < 2 else ())


def test_random_genotypes_are_uniform_over_edges_and_operations() -> None:
    space, rng = cell_space("darts"), np.random.default_rng(1)
    chosen = [space.chosen(space.random(rng, exclude_none=True))["normal"] for _ in range(600)]
    kept = np.array([[len(options) for options in cell] for cell in chosen])
    assert kept.sum(1).tolist() == [8] * 600
    assert np.allclose(kept[:, 9:].mean(0), 2 / 5, atol=0.08)
    ops = np.array([option for cell in chosen for options in cell for option in options])
    assert np.allclose(np.bincount(ops, minlength=8)[1:] / len(ops), 1 / 7, atol=0.03)


def test_stage_wise_cells_are_agnas_five() -> None:
    space = cell_space("darts-stagewise")
    canonical = space.canonical(AGNAS)
    assert canonical.count("Normal_Genotype") == 3
    assert space.count(AGNAS, "skip_connect") == 7
    with pytest.raises(UserError, match=r"space darts-stagewise has normal-1, reduce-1"):
        space.canonical(DARTS_V2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no single expression"),
        ("Genotype(", "no single expression"),
        ("__import__('os').getcwd()", "is no Genotype"),
        ("Genotype(normal=[('sep_conv_3x3', 0)])", "needs exactly normal, normal_concat, reduce, reduce_concat"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"), "gene 7 of the normal cell"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "open('x')"), r"gene 7 of the normal cell is open\('x'\)"),
        (DARTS_V2.replace(", ('dil_conv_3x3', 2)", ""), "the normal cell has 7 genes"),
        (DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=range(open)"), "normal_concat is range"),
        (DARTS_V2.replace("reduce=", "reduced="), "needs exactly"),
        ("[" * 500, "no single expression"),
    ],
)
def test_malformed_texts_say_where(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_genotype(text)


def test_genotypes_of_another_space_are_refused_and_the_edge_named() -> None:
    with pytest.raises(UserError, match=r"'sep_conv_3x3' on edge 2<-0 of the normal cell.*space s1.*dil_conv_3x3"):
        cell_space("s1").canonical(DARTS_V2)
    with pytest.raises(UserError, match=r"10 genes and concatenates \[4, 5, 6\]"):
        cell_space("darts").canonical(AMOEBANET)
    with pytest.raises(UserError, match="node 2 of the normal cell reads state 0 twice"):
        cell_space("darts").canonical(DARTS_V2.replace("('sep_conv_3x3', 1)", "('sep_conv_3x3', 0)", 1))
    cell = CellGenes("normal", (("none", 0), ("sep_conv_3x3", 1)) * 4)
    with pytest.raises(UserError, match="'none' on edge 2<-0"):
        cell_space("darts").canonical(format_genotype([cell, CellGenes("reduce", cell.genes)]))
