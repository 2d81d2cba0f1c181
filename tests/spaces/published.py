"""Genotypes that were published as text, with the sources they are quoted from; facts to test against."""

from __future__ import annotations


def _text(normal: str, reduce: str, concat: str = "range(2, 6)") -> str:
    """Expand ``c0 s1 ...`` (a letter per operation, then the source) to the published text."""
    words = {"s": "skip_connect", "m": "max_pool_3x3", "a": "avg_pool_3x3", "c": "sep_conv_3x3", "C": "sep_conv_5x5"}
    words |= {"d": "dil_conv_3x3", "D": "dil_conv_5x5", "7": "sep_conv_7x7", "x": "conv_7x1_1x7"}
    cells = [[(words[gene[0]], int(gene[1:])) for gene in cell.split()] for cell in (normal, reduce)]
    first, _, second = concat.partition(";")
    return f"Genotype(normal={cells[0]}, normal_concat={first}, reduce={cells[1]}, reduce_concat={second or first})"


DARTS_V1 = _text("c1 c0 s0 c1 s0 c1 c0 s2", "m0 m1 s2 m0 m0 s2 s2 a0", "[2, 3, 4, 5]")
"""First-order DARTS (github quark0/darts, cnn/genotypes.py)."""
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
"""Second-order DARTS (github quark0/darts); its README prints 3.349 MB (million parameters), the paper 3.3 M."""
AMOEBANET = _text("a0 m1 c0 C2 c0 a3 c1 s1 s0 a1", "a0 c1 m0 72 70 a1 m0 m1 x0 c5", "[4, 5, 6];[3, 4, 6]")
"""AmoebaNet-A as github quark0/darts writes it: five nodes, foreign operations."""
PC_DARTS = _text("c1 s0 c0 d1 C0 c1 a0 d1", "C1 m0 C1 C2 c0 c3 c1 c2")
"""PC-DARTS on CIFAR-10 (github yuhuixu1993/PC-DARTS); the paper prints 3.6 M."""
AGNAS = (
    "[Normal_Genotype(normal=[('sep_conv_3x3', 0), ('dil_conv_3x3', 1), ('dil_conv_5x5', 0), ('skip_connect', 1), "
    "('sep_conv_3x3', 0), ('sep_conv_5x5', 3), ('dil_conv_5x5', 0), ('sep_conv_3x3', 3)], normal_concat=range(2, 6)), "
    "Reduce_Genotype(reduce=[('max_pool_3x3', 0), ('sep_conv_5x5', 1), ('skip_connect', 0), ('sep_conv_5x5', 1), "
    "('max_pool_3x3', 0), ('skip_connect', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 1)], reduce_concat=range(2, 6)), "
    "Normal_Genotype(normal=[('skip_connect', 0), ('sep_conv_3x3', 1), ('dil_conv_5x5', 0), ('sep_conv_3x3', 1), "
    "('dil_conv_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_3x3', 1), ('dil_conv_5x5', 4)], normal_concat=range(2, 6)), "
    "Reduce_Genotype(reduce=[('skip_connect', 1), ('skip_connect', 0), ('dil_conv_3x3', 1), ('dil_conv_3x3', 0), "
    "('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('avg_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=range(2, 6)), "
    "Normal_Genotype(normal=[('skip_connect', 0), ('dil_conv_5x5', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_5x5', 0), ('max_pool_3x3', 2), ('sep_conv_5x5', 0), ('sep_conv_3x3', 1)], normal_concat=range(2, 6))]"
)
"""AGNAS's five cells (github Sunzh1996/AGNAS, Darts_Search_Space/genotypes.py); the paper prints 3.6 M."""
ROBUST_DARTS_S1 = (
    _text("s1 d0 s2 s0 s0 s2 s2 s1", "m1 m0 s2 m1 s2 m0 m0 m1"),
    _text("s1 d0 s1 s2 s1 s2 s2 s1", "m1 m0 m0 s2 m1 m0 D4 m0"),
    _text("s0 s1 s1 s2 s2 s1 s2 d4", "m1 m0 s2 m0 s2 m1 m0 s3"),
)
"""S1 on CIFAR-10, drop-path 0, weight decay 3e-4, seeds 1 to 3 (github automl/RobustDARTS, results_arch.yaml)."""
DARTS_PT = {
    "darts_pt_s1_1": _text("s0 s1 s0 s1 s0 s1 d3 D4", "m0 d1 m0 m1 c1 s3 s2 D3"),
    "darts_pt_s1_2": _text("d0 s1 s0 s2 s0 s3 d3 D4", "m0 m1 m0 m1 c1 s2 s2 D4"),
    "darts_pt_s2_1": _text("s0 s1 c0 s2 c1 s3 c1 c4", "c0 c1 c0 s2 c0 s2 c1 s4"),
    "darts_pt_s3_1": _text("c0 c1 c0 s1 s0 s2 c0 c1", "c0 s1 c0 s2 c0 s3 s3 c4"),
    "darts_pt_s4_1": _text("c0 c1 c0 c1 c0 c1 c1 c2", "c0 c1 c0 c2 c0 c3 c0 c1"),
    "blank_pt_s1_1": _text("s0 D1 c1 s2 m0 s3 c0 m1", "a0 m1 m0 m1 s2 D3 D2 s3"),
}
"""CIFAR-10 cells of S1 to S4 (github ruocwang/darts-pt, sota/cnn/genotypes.py)."""
DARTS_PT_MILLIONS = {
    "darts_pt_s1_1": 1.87,
    "darts_pt_s1_2": 2.02,
    "darts_pt_s2_1": 3.09,
    "darts_pt_s3_1": 3.42,
    "darts_pt_s4_1": 4.7,
    "blank_pt_s1_1": 2.36,
}
"""Parameters that the same file prints beside them: 20 cells, 36 channels."""
