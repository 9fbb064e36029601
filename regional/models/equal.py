"""Conds that are equal, so that one evaluation serves all who have them."""

from typing import Any

import torch

from ..host import Conds


def equal_conds(conds: dict[int, dict[str, Conds]], variants: dict[int, int]) -> dict[tuple[int, str], tuple[int, str]]:
    """For each (member, kind) the first one of the same kind with equal conds and the same variant of the weights."""
    first: dict[tuple[int, str], tuple[int, str]] = {}
    for member, kinds in conds.items():
        for kind, own in kinds.items():
            equal = (
                (i, k)
                for i, k in first.values()
                if k == kind and variants[i] == variants[member] and _equal(conds[i][k], own)
            )
            first[member, kind] = next(equal, (member, kind))
    return first


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    if isinstance(a, dict):
        keys = a.keys() - {"uuid"}  # The host draws it anew at every conversion.
        return keys == b.keys() - {"uuid"} and all(_equal(a[key], b[key]) for key in keys)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(one, other) for one, other in zip(a, b, strict=True))
    if hasattr(a, "cond"):  # the host's comfy.conds wrappers around tensors
        return _equal(a.cond, b.cond)
    return isinstance(a, str | int | float | bool) and a == b
