"""Mixing modules: AGNAS's gates and the lite transformer's attention (algorithms' sections 2.3, 4.4 and 8)."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from itnas.nn.candidates import MapCandidates, SlotCandidates
from itnas.nn.lite_transformer import LiteTransformer, LiteTransformerConfig
from itnas.nn.mixing import Alphas, ChannelAttention, EdgeLinear, SinglePath, Site
from itnas.nn.operations import EdgeBundle
from itnas.spaces.nasbench201 import OPERATIONS

C, EDGES, M = 8, (0, 1, 3), 5


def site(channels: int = C, choices: tuple[int, ...] = EDGES) -> Site:
    return Site("edges", choices, 0, 0, M, channels, none=0)


def bundle() -> EdgeBundle:
    torch.manual_seed(1)
    return EdgeBundle(OPERATIONS, len(EDGES), C, affine=False, track=True)


def transformer(**options: object) -> LiteTransformer:
    torch.manual_seed(2)
    return LiteTransformer(site(), replace(LiteTransformerConfig(), **options))  # type: ignore[arg-type]


def descriptors(batch: int = 6, width: int = C) -> Tensor:
    return torch.randn(batch, len(EDGES), M, width, generator=torch.Generator().manual_seed(3))


# -- AGNAS --


def test_agnas_hidden_width_is_mc_over_8() -> None:
    module = ChannelAttention(site(16))
    assert module.squeeze.weight.shape == (3, 80, 10)
    assert module.excite.weight.shape == (3, 10, 80)
    assert ChannelAttention(site(16), reduction="num_ops").squeeze.weight.shape == (3, 80, 16)


def test_agnas_gates_are_one_half_where_the_descriptor_is_zero() -> None:
    assert torch.equal(ChannelAttention(site()).gates(torch.zeros(2, 3, M, C)), torch.full((2, 3, M, C), 0.5))


def test_agnas_gate_of_none_gets_no_gradient() -> None:
    module = ChannelAttention(site())
    outputs, _ = module(bundle()(torch.randn(4, C, 6, 6)))
    sum(y.square().sum() for y in outputs).backward()
    gradient = module.excite.weight.grad.unflatten(2, (M, C))  # type: ignore[union-attr]
    assert torch.equal(gradient[:, :, 0], torch.zeros_like(gradient[:, :, 0]))
    assert gradient[:, :, 1:].abs().sum() > 0


def test_agnas_output_and_importance_against_a_naive_edge() -> None:
    module, ops, x = ChannelAttention(site()), bundle().eval(), torch.randn(4, C, 6, 6)
    outputs, importance = module(ops(x))
    for edge in range(3):
        features = [ops(x).one(edge, k) for k in range(M)]
        features = [torch.zeros_like(x) if f is None else f for f in features]
        squeezed = torch.cat(features, 1).mean((2, 3))
        gates = torch.sigmoid(torch.relu(squeezed @ module.squeeze.weight[edge]) @ module.excite.weight[edge])
        expected = sum(f * gates[:, k * C : (k + 1) * C, None, None] for k, f in enumerate(features))
        assert torch.allclose(outputs[edge], expected, atol=1e-5)
        assert torch.allclose(importance[:, edge], gates.unflatten(1, (M, C)).mean(2), atol=1e-6)
    summed = ChannelAttention(site(), channel_sum=True)
    summed.load_state_dict(module.state_dict())
    assert torch.allclose(summed(ops(x))[1], C * importance, atol=1e-5)


# -- IT-NAS --


@pytest.mark.parametrize(("width", "per_edge"), [(16, 832), (32, 3_200), (64, 12_544)])
def test_it_row_has_the_computed_number_of_parameters(width: int, per_edge: int) -> None:
    module = LiteTransformer(site(width, (0,)), LiteTransformerConfig())
    assert sum(p.numel() for p in module.parameters()) == per_edge


ALL_MIXES = ("it_row", "it_gate", "it_residual", "token_gate", "token_gate_it")


@pytest.mark.parametrize("mix", ALL_MIXES)
@pytest.mark.parametrize(
    "options", [{}, {"heads": 2, "layers": 2, "ffn_ratio": 2}, {"norm": "post"}, {"mask_self": True}]
)
def test_attention_rows_sum_to_one_and_do_not_depend_on_other_images(mix: str, options: dict[str, object]) -> None:
    module = transformer(mix=mix, **options).eval()
    x = descriptors()
    attention, _, _ = module.attend(x)
    assert attention.shape == (6, 3, M + 1, M + 1)
    assert torch.allclose(attention.sum(-1), torch.ones(6, 3, M + 1), atol=1e-6)
    alone = torch.cat([module.attend(x[i : i + 1])[0] for i in range(6)])
    assert torch.allclose(attention, alone, atol=1e-6)
    if options.get("mask_self"):
        assert torch.equal(attention[:, :, 0, 0], torch.zeros(6, 3))


def test_attention_agrees_with_torchs_multihead_attention() -> None:
    module = transformer(mix="it_gate", heads=2, norm="none").eval()
    layer, x = module.layers[0], descriptors()
    tokens = torch.randn(3, 6, M + 1, C)
    out, attention, _ = layer(tokens)
    for edge in range(3):
        reference = nn.MultiheadAttention(C, 2, bias=False, batch_first=True)
        maps = [getattr(layer, name).weight[edge].T for name in ("query", "key", "value")]
        reference.in_proj_weight.data.copy_(torch.cat(maps))
        reference.out_proj.weight.data.copy_(torch.eye(C))
        expected, weights = reference(tokens[edge], tokens[edge], tokens[edge])
        assert torch.allclose(attention[edge], weights, atol=1e-5)
        assert torch.allclose(out[edge], expected, atol=1e-5)
    assert x.shape[-1] == C


def query_gradient(mix: str, layers: int = 1) -> Tensor:
    """Return the gradient of a loss on the edges' outputs with respect to the IT's query vector in the last layer."""
    module, ops = transformer(mix=mix, layers=layers), bundle()
    caught: list[Tensor] = []

    def catch(_: nn.Module, __: object, output: Tensor) -> None:
        output.retain_grad()
        caught.append(output)

    module.layers[-1].query.register_forward_hook(catch)
    outputs, _ = module(ops(torch.randn(4, C, 6, 6)))
    sum(y.square().sum() for y in outputs).backward()
    assert caught[0].grad is not None
    return caught[0].grad[:, :, 0]


def test_the_its_query_is_trained_by_every_mix_except_one_layer_token_gate() -> None:
    assert torch.equal(query_gradient("token_gate"), torch.zeros(3, 4, C))
    for mix in ("it_row", "it_gate", "it_residual", "token_gate_it"):
        assert query_gradient(mix).abs().sum() > 0, mix


def test_the_indicator_token_gets_gradient_in_the_default() -> None:
    module = transformer()
    outputs, _ = module(bundle()(torch.randn(4, C, 6, 6)))
    sum(y.square().sum() for y in outputs).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters() if p is not None)


def test_permuting_operations_permutes_the_importance_unless_they_are_embedded() -> None:
    order = torch.tensor([3, 0, 4, 1, 2])
    x = descriptors()
    plain = transformer().eval()
    assert torch.allclose(
        plain.attend(x[:, :, order])[0][:, :, 0, 1:], plain.attend(x)[0][:, :, 0, 1:][..., order], atol=1e-6
    )
    embedded = transformer(op_embedding=True).eval()
    moved = embedded.attend(x[:, :, order])[0][:, :, 0, 1:]
    assert not torch.allclose(moved, embedded.attend(x)[0][:, :, 0, 1:][..., order], atol=1e-6)


def test_it_row_is_a_convex_combination_of_the_candidates() -> None:
    module, ops, x = transformer().eval(), bundle().eval(), torch.randn(4, C, 6, 6)
    outputs, importance = module(ops(x))
    weights = importance / importance.sum(-1, keepdim=True)
    for edge in range(3):
        features = [ops(x).one(edge, k) for k in range(M)]
        expected = sum(weights[:, edge, k, None, None, None] * f for k, f in enumerate(features) if f is not None)
        assert torch.allclose(outputs[edge], expected, atol=1e-5)


def test_readouts() -> None:
    ops, x = bundle().eval(), torch.randn(4, C, 6, 6)
    read = {name: transformer(readout=name).eval()(ops(x))[1] for name in ("mean", "logit", "renormalised", "vote")}
    assert torch.allclose(read["renormalised"].sum(-1), torch.ones(4, 3), atol=1e-6)
    assert torch.equal(read["vote"].sum(-1), torch.ones(4, 3))
    assert torch.equal(read["vote"].argmax(-1), read["mean"].argmax(-1))
    assert torch.allclose(read["logit"].softmax(-1), read["renormalised"], atol=1e-6)
    assert (read["mean"].sum(-1) < 1).all()


def test_gap_does_not_separate_skip_from_pooling_and_gap_std_does() -> None:
    x = torch.randn(8, C, 16, 16)
    ops = bundle()
    gap = transformer(descriptor="gap").describe(ops(x).all(), ops(x))
    both = transformer(descriptor="gap_std").describe(ops(x).all(), ops(x))
    skip, pool = OPERATIONS.index("skip_connect"), OPERATIONS.index("avg_pool_3x3")
    assert torch.corrcoef(torch.stack([gap[:, 0, skip].flatten(), gap[:, 0, pool].flatten()]))[0, 1] > 0.95
    std = both.unflatten(3, (C, 2))[..., 1]
    assert (std[:, 0, pool] / std[:, 0, skip]).mean() < 0.45


def test_none_without_a_token_has_no_importance_and_no_weight() -> None:
    module, ops = transformer(none_token=False).eval(), bundle().eval()
    _, importance = module(ops(torch.randn(2, C, 6, 6)))
    assert torch.equal(importance[:, :, 0], torch.zeros(2, 3))
    assert (importance[:, :, 1:] > 0).all()


OPTIONS = {
    "descriptor": ("gap_std", "grid"),
    "embedding": ("per_op",),
    "width": (16,),
    "heads": (2, 4),
    "layers": (2,),
    "ffn_ratio": (2,),
    "norm": ("post", "none"),
    "indicator": ("mean",),
    "op_embedding": (True,),
    "none_token": (False,),
    "output_scale": ("num_ops",),
    "learned_temperature": (True,),
    "dropout": (0.1,),
}


@pytest.mark.parametrize(
    ("mix", "name", "value"), [(mix, name, v) for mix, (name, vs) in product(ALL_MIXES, OPTIONS.items()) for v in vs]
)
def test_every_option_runs_with_every_mix_and_reaches_its_parameters(mix: str, name: str, value: object) -> None:
    module, ops = transformer(mix=mix, **{name: value}), bundle()
    outputs, importance = module(ops(torch.randn(4, C, 6, 6)))
    assert [y.shape for y in outputs] == [(4, C, 6, 6)] * 3
    assert importance.shape == (4, 3, M)
    sum(y.square().sum() for y in outputs).backward()
    untouched = {n for n, p in module.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()}
    assert not untouched


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of 3 heads"):
        transformer(heads=3)


# -- shared parts --


def test_edge_linear_is_one_linear_map_per_group() -> None:
    module, x = EdgeLinear(3, 4, 2, bias=True), torch.randn(3, 5, 6, 4)
    y = module(x)
    for group in range(3):
        assert torch.allclose(y[group], x[group] @ module.weight[group] + module.bias[group], atol=1e-6)  # type: ignore[index]


def test_alphas_mask_without_renormalising_and_freeze_decided_rows() -> None:
    alphas = Alphas(2, 3)
    free = alphas.weights()
    alphas.masked = {(0, 1)}
    masked = alphas.weights()
    assert masked[0, 1] == 0
    assert torch.equal(masked[0, [0, 2]], free[0, [0, 2]])
    alphas.masked.clear()
    alphas.decide(1, [2])
    weights = alphas.weights()
    assert weights[1].tolist() == [0, 0, 1]
    (gradient,) = torch.autograd.grad(weights.square().sum(), alphas.logits)
    assert torch.equal(gradient[1], torch.zeros(3))
    assert gradient[0].abs().sum() > 0
    alphas.decide(0, [0, 2])
    alphas.decide(1, [])
    assert alphas.weights().tolist() == [[1, 0, 1], [0, 0, 0]]
    alphas.masked = {(0, None)}
    assert alphas.weights()[0].tolist() == [0, 0, 0]


# -- candidates that are feature maps --


def slots() -> tuple[SlotCandidates, MapCandidates]:
    """Return an output of three slots of two channels, and the same candidates padded by hand."""
    torch.manual_seed(4)
    base, parts = torch.randn(2, 6, 4, 4), [torch.randn(2, 2, 4, 4) for _ in range(3)]
    padded = [torch.zeros_like(base) for _ in parts]
    for k, part in enumerate(parts):
        padded[k][:, 2 * k : 2 * k + 2] = part
    return SlotCandidates(base, parts), MapCandidates([base, *padded])


@pytest.mark.parametrize("kind", [ChannelAttention, "transformer", "transformer-std", "residual"])
@pytest.mark.parametrize("kept", [{}, {0: (0, 2)}, {0: (3,)}])
@pytest.mark.parametrize("gate", ["full", "masked"])
def test_slots_mix_as_their_padded_maps_do(kind: object, kept: dict[int, tuple[int, ...]], gate: str) -> None:
    at = Site("output", (0,), 0, 0, 4, 6)
    options = {"transformer": {}, "transformer-std": {"descriptor": "grid"}, "residual": {"mix": "it_residual"}}
    mixing = (
        ChannelAttention(at)
        if kind is ChannelAttention
        else LiteTransformer(at, LiteTransformerConfig(**options[kind]))  # type: ignore[arg-type, index]
    )
    mixing.kept, mixing.kept_weight, mixing.kept_gate = kept, "keep", gate  # type: ignore[assignment]
    ours, theirs = (mixing(candidates) for candidates in slots())
    assert torch.allclose(ours[0][0], theirs[0][0], atol=1e-6)
    assert torch.allclose(ours[1], theirs[1], atol=1e-6)


@pytest.mark.parametrize("path", [(), (0,), (2,), (0, 1, 3), (1, 2, 3)])
def test_a_single_path_sums_the_kept_slots(path: tuple[int, ...]) -> None:
    mixing = SinglePath(Site("output", (0,), 0, 0, 4, 6))
    mixing.path = [path]
    ours, theirs = (mixing(candidates)[0][0] for candidates in slots())
    expected = sum((slots()[1].outputs[k] for k in path), start=torch.zeros(2, 6, 4, 4))  # type: ignore[misc]
    assert torch.allclose(ours, theirs)
    assert torch.allclose(ours, expected)


def test_modules_shared_by_a_stage_have_one_set_of_parameters_and_their_own_place() -> None:
    first = transformer()
    twin = first.sharing_at(Site("edges", EDGES, 1, 0, M, C, none=0))
    assert {id(p) for p in twin.parameters()} == {id(p) for p in first.parameters()}
    twin.kept = {0: (1,)}
    assert (first.kept, first.site.cell, twin.site.cell) == ({}, 0, 1)
