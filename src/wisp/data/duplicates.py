"""Exact and near duplicates: which photos show the same shot.

Two photos are near duplicates when three measures agree: the perceptual hash, the correlation of small colour
thumbnails, and the aspect ratio. The hash alone takes photos on a white board for one another; the correlation does not
mind brightness or contrast, which a plain difference of pixels does.

The thresholds were chosen by looking at the pairs found in TrashNet (2,527 photos) and in 11,803 waste photos of
mixed sources. Hash alone (10 bits): 80 and 647 pairs, most of them wrong. With a correlation of 0.95: 27 and 98,
nearly all right; below 0.93 bottles of one shape before a white background begin to match.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from wisp.data.photo_table import HASH_BITS, PhotoTable

MAX_HASH_DISTANCE = 10  # bits of 64
MIN_CORRELATION = 0.95
MAX_ASPECT_CHANGE = 1.16  # factor
_BLOCK = 256  # rows compared with all others at a time: bounds memory to 256 x N floats

Indices = npt.NDArray[np.int64]


def exact_groups(table: PhotoTable) -> Indices:
    """For each of N photos the index of the first one with the same bytes (int64, N)."""
    _, first, inverse = np.unique(table.digests, axis=0, return_index=True, return_inverse=True)
    return first[inverse.ravel()].astype(np.int64)


def duplicate_groups(table: PhotoTable) -> Indices:
    """For each of N photos the index of the first one of its group of exact or near duplicates (int64, N).

    Groups are the connected components of all pairs. All pairs are compared, in blocks: 40,000 photos take seconds
    and some 100 MB.
    """
    groups = exact_groups(table)
    candidates = np.flatnonzero((groups == np.arange(len(groups))) & table.readable)
    # With bits as +-1, the product of two hashes is 64 minus twice their Hamming distance (exact in float32).
    signs = np.where(table.hashes[candidates], np.float32(1), np.float32(-1))
    aspects = np.log(table.widths[candidates] / table.heights[candidates])
    for start in range(0, len(candidates), _BLOCK):
        block, rest = signs[start : start + _BLOCK], signs[start:]
        left, right = np.nonzero(block @ rest.T >= HASH_BITS - 2 * MAX_HASH_DISTANCE)
        later = left < right
        left, right = left[later] + start, right[later] + start
        same_shape = np.abs(aspects[left] - aspects[right]) <= np.log(MAX_ASPECT_CHANGE)
        left, right = candidates[left[same_shape]], candidates[right[same_shape]]
        # One product of matrices: where thousands of hashes collide (blank photos), pairs one by one take minutes.
        rows, row = np.unique(left, return_inverse=True)
        columns, column = np.unique(right, return_inverse=True)
        alike = correlation(table.thumbnails[rows], table.thumbnails[columns]) >= MIN_CORRELATION
        same_shot = alike[row, column]
        _join(groups, left[same_shot], right[same_shot])
    return groups


def correlation(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Pearson's correlation, over all pixels and channels, of each of P pictures with each of Q pictures.

    Args:
        one: uint8, P x height x width x 3.
        other: uint8, Q x height x width x 3.

    Returns:
        float32, P x Q, from -1 to 1; 0 where a picture is a single colour.
    """
    product: npt.NDArray[np.float32] = _standardised(one) @ _standardised(other).T
    return product


def _standardised(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    flat = pictures.reshape(len(pictures), math.prod(pictures.shape[1:])).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.where(length > 0, length, 1)
    return flat


def _join(groups: Indices, one: Indices, other: Indices) -> None:
    """Union of the groups of each pair, in place: every higher first member is hooked to a lower one, until none is.

    `groups` maps each photo to the first of its group, before and after.
    """
    while len(one):
        low, high = np.minimum(groups[one], groups[other]), np.maximum(groups[one], groups[other])
        np.minimum.at(groups, high, low)
        while not np.array_equal(groups, above := groups[groups]):
            groups[:] = above
        apart = groups[one] != groups[other]
        one, other = one[apart], other[apart]
