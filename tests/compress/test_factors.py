"""Decompositions against closed forms: exact at full rank, optimal below, and ranks of matrices that have one."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from wisp.compress.factors import errors_by_rank, factored, split_kernel, split_matrix
from wisp.compress.rank import variational_rank
from wisp.models.edits import Factor

SIDES = st.integers(1, 9)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=40)
@given(SIDES, SIDES, st.integers(0, 2**31 - 1), st.data())
def test_a_matrix_is_split_at_the_least_error(rows, columns, seed, data):
    """Eckart and Young (1936): the error is the energy of the singular values that are left out."""
    matrix = gaussian(rows, columns, seed=seed)
    rank = data.draw(st.integers(1, min(rows, columns)))
    left, right = split_matrix(matrix, rank)
    assert (left.shape, right.shape) == ((rows, rank), (rank, columns))
    error = (matrix - left @ right).square().sum()
    left_out = torch.linalg.svdvals(matrix)[rank:].square().sum()
    torch.testing.assert_close(error, left_out, rtol=1e-9, atol=1e-18)
    # both halves are equally large
    torch.testing.assert_close(left.norm(), right.norm())


@settings(deadline=None, max_examples=25)
@given(SIDES, SIDES, st.integers(0, 2**31 - 1), st.data())
def test_with_known_inputs_the_outputs_are_approximated_best(rows, columns, seed, data):
    """The error of the outputs over all inputs is the energy that is left out of W root(E[x x^T])."""
    matrix, samples = gaussian(rows, columns, seed=seed), gaussian(40, columns, seed=seed + 1)
    samples = samples * torch.linspace(0.5, 4, columns, dtype=torch.float64)
    rank = data.draw(st.integers(1, min(rows, columns)))
    left, right = split_matrix(matrix, rank, samples.t() @ samples)

    def error(approximation):
        return (samples @ (matrix - approximation).t()).square().sum()

    blind_left, blind_right = split_matrix(matrix, rank)
    assert (
        error(left @ right) <= 1.01 * error(blind_left @ blind_right) + 1e-12
    )  # a little for the conditioning
    values = torch.linalg.svdvals(matrix @ torch.linalg.cholesky(samples.t() @ samples))
    torch.testing.assert_close(error(left @ right), values[rank:].square().sum(), rtol=0.02, atol=1e-6)
    layer = nn.Linear(columns, rows).double()
    layer.weight.data = matrix
    share = errors_by_rank(layer, samples.t() @ samples)[rank]
    torch.testing.assert_close(
        share, values[rank:].square().sum() / values.square().sum(), rtol=0.05, atol=5e-3
    )


@settings(deadline=None, max_examples=25)
@given(SIDES, SIDES, st.integers(1, 5), st.integers(0, 2**31 - 1), st.data())
def test_a_kernel_is_split_no_worse_than_by_truncation(outputs, inputs, side, seed, data):
    kernel = gaussian(outputs, inputs, side, side, seed=seed)
    ranks = data.draw(st.tuples(st.integers(1, inputs), st.integers(1, outputs)))
    first, core, last = split_kernel(kernel, ranks)
    assert (first.shape, last.shape) == ((ranks[0], inputs), (outputs, ranks[1]))
    assert core.shape == (ranks[1], ranks[0], side, side)
    approximation = torch.einsum("os,srhw,ri->oihw", last, core, first)
    error = float((kernel - approximation).square().sum() / kernel.square().sum())
    layer = nn.Conv2d(inputs, outputs, side if side > 1 else 1).double()
    layer.weight.data = kernel
    if side > 1:
        assert error <= float(errors_by_rank(layer)[ranks]) + 1e-9
    if ranks == (inputs, outputs):
        assert error < 1e-20
    # no worse than the sum of what both unfoldings leave out (De Lathauwer et al., 2000), no better than the larger one
    tails = [
        float(torch.linalg.svdvals(matrix.flatten(1))[rank:].square().sum() / kernel.square().sum())
        for matrix, rank in ((kernel.transpose(0, 1), ranks[0]), (kernel, ranks[1]))
    ]
    assert max(tails) - 1e-9 <= error <= sum(tails) + 1e-9


def test_a_kernel_that_has_these_ranks_is_found_exactly():
    kernel = torch.einsum(
        "os,srhw,ri->oihw", gaussian(9, 2), gaussian(2, 3, 3, 3, seed=1), gaussian(3, 7, seed=2)
    )
    first, core, last = split_kernel(kernel, (3, 2))
    torch.testing.assert_close(
        torch.einsum("os,srhw,ri->oihw", last, core, first), kernel, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(7, 5),
        nn.Linear(5, 7, bias=False),
        nn.Conv2d(6, 4, 1, stride=2),
        nn.Conv2d(4, 6, 3, padding=1, stride=2, bias=False),
        nn.Conv2d(5, 4, (3, 5), padding=2, dilation=(1, 2), padding_mode="circular"),
    ],
    ids=str,
)
def test_the_chain_computes_what_the_product_does_and_the_layer_at_full_rank(layer):
    torch.manual_seed(0)
    inputs, outputs = layer.weight.shape[1], layer.weight.shape[0]
    x = torch.randn(2, inputs) if isinstance(layer, nn.Linear) else torch.randn(2, inputs, 12, 12)
    double = errors_by_rank(layer).ndim == 2
    full = (inputs, outputs) if double else (min(inputs, outputs),)
    for ranks in (full, (2, 3) if double else (2,)):
        chain, product = factored(layer, Factor(layer="x", ranks=ranks))
        with torch.no_grad():
            torch.testing.assert_close(chain(x), product(x), rtol=1e-4, atol=1e-5)
            if ranks == full:
                torch.testing.assert_close(chain(x), layer(x), rtol=1e-4, atol=1e-5)
        weight = layer.weight.detach()
        lost = float((product.weight.detach() - weight).double().square().sum() / weight.square().sum())
        expected = float(errors_by_rank(layer)[ranks])
        assert lost <= expected + 1e-6
        if not double:
            assert lost == pytest.approx(expected, abs=1e-6)


def test_errors_fall_from_all_to_nothing():
    for layer in (nn.Linear(6, 4), nn.Conv2d(3, 5, 3)):
        errors = errors_by_rank(layer)
        assert float(errors.flatten()[0]) == 1.0
        assert float(errors.flatten()[-1]) == pytest.approx(0.0, abs=1e-9)
        for axis in range(errors.ndim):
            assert (errors.diff(dim=axis) <= 1e-12).all()


@pytest.mark.parametrize("shape", [(40, 100), (100, 40), (64, 64), (16, 200)])
@pytest.mark.parametrize("rank", [0, 1, 3, 8])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_the_rank_of_a_noisy_matrix_is_found(shape, rank, noise):
    random = np.random.default_rng(rank)
    signal = random.normal(size=(shape[0], rank)) @ random.normal(size=(rank, shape[1]))
    matrix = signal + noise * random.normal(size=shape)
    assert variational_rank(matrix) == rank
    assert variational_rank(1e-3 * matrix) == rank  # the unit does not matter
    assert variational_rank(matrix[::-1].T) == rank


def test_what_stands_out_less_than_the_noise_is_not_seen():
    """The threshold for a square matrix is 4.9108 columns times the variance (the constant 2.5129 of the paper)."""
    random = np.random.default_rng(0)
    side, noise = 400, random.normal(size=(400, 400))
    left, right = (vector / np.linalg.norm(vector) for vector in random.normal(size=(2, side)))
    # A spike of strength s shows up as (1 + s)(1 + 1/s) columns x variance: kept from s = 2.5129 on.
    assert variational_rank(noise + np.sqrt(1.8 * side) * np.outer(left, right)) == 0
    assert variational_rank(noise + np.sqrt(3.6 * side) * np.outer(left, right)) == 1


@pytest.mark.parametrize(("matrix", "rank"), [(np.zeros((3, 4)), 0), (np.ones((1, 1)), 0), (np.eye(5), 0)])
def test_matrices_without_a_trace_of_structure(matrix, rank):
    assert variational_rank(matrix) == rank


def test_an_exact_low_rank_matrix():
    random = np.random.default_rng(0)
    assert variational_rank(random.normal(size=(8, 2)) @ random.normal(size=(2, 30))) == 2
