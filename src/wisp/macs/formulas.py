"""The one table of torch operators: what multiplies and how much, and what multiplies nothing.

Operators are those that reach torch's dispatcher: what is composed of others (linear, matmul, einsum, an LSTM)
arrives as its parts. A name in none of these tables is unknown, and a count that meets it is incomplete.

Where complex numbers meet, one product is four real ones, two with a real factor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType
from typing import Any

from torch import Tensor

Formula = Callable[[tuple[Any, ...], Any], int]


def real_products(*factors: Any) -> int:
    """Real multiplications in one product of two factors (tensors or numbers)."""
    is_complex = [
        factor.is_complex() if isinstance(factor, Tensor) else isinstance(factor, complex)
        for factor in factors[:2]
    ]
    return 1 << sum(is_complex)


def _convolution(args: tuple[Any, ...], out: Tensor) -> int:
    image, weight = args[:2]
    transposed = len(args) > 6 and bool(args[6])
    # A transposed convolution multiplies every value that goes in, the other kind sums up every value that comes out.
    values = image.numel() if transposed else out.numel()
    return int(values * prod(weight.shape[1:])) * real_products(image, weight)


def _conv_forward(args: tuple[Any, ...], out: Tensor) -> int:
    return int(out.numel() * prod(args[1].shape[1:]))


def _matmul(first: int) -> Formula:
    def macs(args: tuple[Any, ...], _out: Any) -> int:
        left, right = args[first : first + 2]
        return int(left.numel() * right.shape[-1]) * real_products(left, right)

    return macs


def _matvec(first: int) -> Formula:
    def macs(args: tuple[Any, ...], _out: Any) -> int:
        left, right = args[first : first + 2]
        return int(left.numel()) * real_products(left, right)

    return macs


def attention_macs(query: Any, key: Any, value: Any) -> int:
    """Both products of attention, softmax(Q K') V, every position with every other (also where a mask hides some)."""
    rows = query.numel() // max(1, query.shape[-1])
    return int(rows * key.shape[-2] * (query.shape[-1] + value.shape[-1]))


def _attention(args: tuple[Any, ...], _out: Any) -> int:
    return attention_macs(*args[:3])


def _attention_scores(args: tuple[Any, ...], _out: Any) -> int:
    query, key = args[:2]
    return int(query.numel() // max(1, query.shape[-1]) * key.shape[-2])


def _distances(args: tuple[Any, ...], _out: Any) -> int:
    return int(args[0].numel() * args[1].shape[-2])


def _squares(args: tuple[Any, ...], _out: Any) -> int:
    return int(args[0].numel()) * real_products(args[0], args[0])


def _weights_per_output(number: int) -> Formula:
    return lambda _args, out: int(out.numel()) * number


def _grid_sample(args: tuple[Any, ...], out: Tensor) -> int:
    corners = {0: 2, 1: 0, 2: 4}[args[2]]  # bilinear, nearest, bicubic
    return int(out.numel()) * corners ** (out.dim() - 2) if corners else 0


def _affine_grid(args: tuple[Any, ...], out: Tensor) -> int:
    return int(out.numel()) * int(args[0].shape[-1])


def _recurrent_layer(args: tuple[Any, ...], _out: Any) -> int:
    steps, batch = args[0].shape[:2]
    return int(steps * batch) * int(args[1].numel() + args[2].numel())


def _recurrent_gates(args: tuple[Any, ...], _out: Any) -> int:
    # oneDNN's LSTM: three sigmoids, two hyperbolic tangents and three products a unit and step
    return int(args[0].shape[0] * args[0].shape[1]) * 8 * int(args[5].shape[-1])


def _packed_weight(packed: Any) -> Tensor:
    weight = packed.unpack()[0]
    assert isinstance(weight, Tensor)  # noqa: S101  (what torch's packed parameters hold)
    return weight


def _quantized_conv(args: tuple[Any, ...], out: Tensor) -> int:
    return int(out.numel() * prod(_packed_weight(args[1]).shape[1:]))


def _quantized_linear(args: tuple[Any, ...], _out: Any) -> int:
    return int(args[0].numel() * _packed_weight(args[1]).shape[0])


_FUSED_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)

# Sums of products.
MACS: Mapping[str, Formula] = MappingProxyType(
    {
        **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
        **dict.fromkeys(
            ("mkldnn_convolution", "_slow_conv2d_forward", "slow_conv3d_forward", "_conv_depthwise2d"),
            _conv_forward,
        ),
        **dict.fromkeys(("mm", "bmm", "_int_mm", "_scaled_mm"), _matmul(0)),
        **dict.fromkeys(("addmm", "baddbmm", "addbmm", "_addmm_activation"), _matmul(1)),
        **dict.fromkeys(("mv", "dot", "vdot"), _matvec(0)),
        "addmv": _matvec(1),
        **dict.fromkeys(_FUSED_ATTENTION, _attention),
        **dict.fromkeys(("_cdist_forward", "_euclidean_dist"), _distances),
        **dict.fromkeys(
            ("var", "std", "var_mean", "std_mean", "linalg_vector_norm", "norm", "_weight_norm_interface"),
            _squares,
        ),
        "upsample_linear1d": _weights_per_output(2),
        "upsample_bilinear2d": _weights_per_output(4),
        "upsample_bicubic2d": _weights_per_output(16),
        "upsample_trilinear3d": _weights_per_output(8),
        **dict.fromkeys(("grid_sampler_2d", "grid_sampler_3d"), _grid_sample),
        "affine_grid_generator": _affine_grid,
        "mkldnn_rnn_layer": _recurrent_layer,
        **dict.fromkeys(
            (f"quantized::conv{n}d{suffix}" for n in (1, 2, 3) for suffix in ("", "_relu")), _quantized_conv
        ),
        **dict.fromkeys(("quantized::linear", "quantized::linear_relu"), _quantized_linear),
    }
)
# What some of the above do besides, one a value.
BESIDES: Mapping[str, Formula] = MappingProxyType(
    {**dict.fromkeys(_FUSED_ATTENTION, _attention_scores), "mkldnn_rnn_layer": _recurrent_gates}
)

# Products of single values: MACs if they are added up later (`wisp.macs.ledger`).
PRODUCTS = frozenset(
    """
    mul multiply div divide true_divide pow float_power square addcmul addcdiv lerp quantized::mul
    quantized::mul_relu
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)

# Functions of single values, and normalisation: one a value, never MACs.
FUNCTIONS = frozenset(
    """
    acos acosh asin asinh atan atan2 atanh cos cosh sin sinc sinh tan tanh exp exp2 expm1 log log10
    log1p log2 logaddexp logaddexp2 logsumexp logcumsumexp logit xlogy erf erfc erfinv lgamma digamma
    angle sqrt rsqrt reciprocal sigmoid log_sigmoid_forward hardsigmoid hardswish silu mish gelu celu
    elu selu softplus leaky_relu rrelu_with_noise _prelu_kernel glu _softmax _log_softmax _safe_softmax
    softmax log_softmax special_erfcx special_log_ndtr special_ndtri special_i0 special_xlog1py prod
    cumprod hypot fmod remainder floor_divide bitwise_left_shift bitwise_right_shift __lshift__
    __rshift__ bitwise_and bitwise_or bitwise_xor bitwise_not __and__ __or__ __xor__ native_batch_norm
    _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_no_update
    _batch_norm_with_update cudnn_batch_norm miopen_batch_norm native_layer_norm native_group_norm
    _fused_rms_norm linalg_cross polar quantize_per_tensor quantize_per_channel
    quantize_per_tensor_dynamic dequantize fake_quantize_per_tensor_affine_cachemask
    fake_quantize_per_channel_affine_cachemask _fake_quantize_per_tensor_affine_cachemask_tensor_qparams
    quantized::add quantized::add_relu quantized::batch_norm2d quantized::hardswish
    quantized::leaky_relu quantized_decomposed::quantize_per_tensor
    quantized_decomposed::dequantize_per_tensor quantized_decomposed::quantize_per_channel
    quantized_decomposed::dequantize_per_channel _thnn_fused_lstm_cell _thnn_fused_gru_cell
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)

# Additions of whole tensors, value by value.
ADDITIONS = frozenset(["add", "sub", "rsub", "subtract"])

# Additions along an axis.
REDUCTIONS = frozenset(
    """
    sum nansum mean nanmean cumsum trace avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool2d mkldnn_adaptive_avg_pool2d index_add
    scatter_add scatter_reduce index_reduce segment_reduce col2im
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)

# Multiplies nothing: moves, makes, compares, selects, rounds.
FREE = frozenset(
    """
    abs neg negative sign sgn signbit positive ceil floor round trunc frac relu relu6 hardtanh threshold
    clamp clamp_min clamp_max clip hardshrink softshrink maximum minimum fmax fmin max min amax amin
    aminmax argmax argmin median nanmedian mode kthvalue cummax cummin _cummax_helper _cummin_helper
    topk sort argsort msort searchsorted bucketize eq ne lt le gt ge not_equal less less_equal greater
    greater_equal isnan isinf isfinite isposinf isneginf isin isclose logical_and logical_or logical_not
    logical_xor all any count_nonzero where heaviside nan_to_num max_pool1d max_pool2d max_pool3d
    max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d
    fractional_max_pool2d fractional_max_pool3d mkldnn_max_pool2d quantized_max_pool2d max_unpool2d
    max_unpool3d upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d pixel_shuffle pixel_unshuffle channel_shuffle
    native_channel_shuffle im2col unfold_copy constant_pad_nd reflection_pad1d reflection_pad2d
    reflection_pad3d replication_pad1d replication_pad2d replication_pad3d _pad_enum pad cat concat
    stack _stack hstack split split_with_sizes unsafe_split unsafe_split_with_sizes unsafe_chunk chunk
    unbind narrow select slice index gather take index_select index_copy index_fill index_put
    _index_put_impl _unsafe_index _unsafe_index_put masked_fill masked_scatter scatter slice_scatter
    select_scatter diagonal_scatter as_strided_scatter _unsafe_masked_index embedding embedding_renorm
    one_hot flip roll rot90 repeat repeat_interleave tile expand tril triu tril_indices triu_indices
    diag_embed diag block_diag meshgrid transpose permute reshape view _unsafe_view _reshape_alias
    _reshape_copy view_copy squeeze unsqueeze t alias detach as_strided lift lift_fresh
    lift_fresh_copy alias_copy as_strided_copy diagonal_copy expand_copy permute_copy select_copy slice_copy split_copy
    squeeze_copy t_copy transpose_copy unbind_copy unsqueeze_copy clone contiguous
    copy _to_copy to _copy_from _copy_from_and_resize resize set fill zero detach_copy resolve_conj
    resolve_neg conj conj_physical _conj _conj_physical _neg_view real imag complex view_as_real
    view_as_complex empty empty_like empty_strided empty_permuted new_empty new_empty_strided zeros
    zeros_like new_zeros ones ones_like new_ones full full_like new_full scalar_tensor arange range
    linspace logspace eye _efficientzerotensor rand rand_like randn randn_like randint randint_like
    randperm normal uniform bernoulli exponential geometric cauchy log_normal random multinomial dropout
    native_dropout alpha_dropout feature_dropout sym_size sym_stride sym_numel sym_storage_offset
    sym_constrain_range sym_constrain_range_for_size _assert_async _assert_scalar
    _assert_tensor_metadata is_same_size size stride numel dim q_scale q_zero_point q_per_channel_scales
    q_per_channel_zero_points q_per_channel_axis qscheme int_repr _make_per_tensor_quantized_tensor
    _make_per_channel_quantized_tensor _empty_affine_quantized quantized::cat quantized::cat_relu
    quantized::relu6 _has_compatible_shallow_copy_type _nested_tensor_size result_type promote_types
    can_cast is_pinned pin_memory record_stream _debug_has_internal_overlap _fused_sdp_choice _version
    _choose_qparams_per_tensor choose_qparams_optimized
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)

# What the program does next may depend on the values it has met: a count holds for the image it was made with.
VALUE_READS = frozenset(
    """
    _local_scalar_dense item is_nonzero equal allclose nonzero nonzero_numpy argwhere masked_select
    unique _unique _unique2 unique_dim unique_consecutive unique_dim_consecutive bincount histc
    """.split()  # noqa: SIM905  (a list of words reads best as words)
)


def operator_name(operator: Any) -> str:
    """The name under which an operator stands in the tables: `mul` for `aten::mul_.Tensor`, `quantized::add`."""
    name = str(operator._schema.name)
    namespace, _, base = name.partition("::")
    if not base.startswith("__"):
        base = base.rstrip("_")
    return base if namespace == "aten" else f"{namespace}::{base}"
