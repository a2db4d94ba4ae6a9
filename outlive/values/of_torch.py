"""PyTorch's tensors on the processor: the bytes of their storage, and how they lie in it.

Tensors of one value that share a storage share it again after reading.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from outlive.errors import CorruptArray, UnsupportedArray
from outlive.values.parts import once
from outlive.values.registry import register

_QUANTIZED = "torch.q"
"""The beginning of dtypes that need more than bytes."""


def _encode(tensor: Any) -> Any:
    if tensor.requires_grad and not tensor.is_leaf:
        raise UnsupportedArray(
            "this tensor is part of a graph (it has a grad_fn), which cannot be stored: store tensor.detach()"
        )
    if any(getattr(tensor, name, None) for name in ("_backward_hooks", "_post_accumulate_grad_hooks")):
        raise UnsupportedArray(
            "this tensor has hooks, which cannot be stored, and pickle would drop them: store tensor.detach()"
        )
    kind = tensor.device.type == "cpu" and tensor.layout is torch.strided
    if not kind or tensor.is_quantized or tensor.is_nested or tensor.is_conj() or tensor.is_neg() or _has_more(tensor):
        return NotImplemented
    storage = torch.empty(0, dtype=torch.uint8).set_(tensor.detach().untyped_storage())
    state: dict[str, Any] = {
        "storage": storage.numpy(),
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "strides": list(tensor.stride()),
        "offset": tensor.storage_offset(),
    }
    if tensor.requires_grad:
        state["requires_grad"] = True
    if tensor.grad is not None:
        state["grad"] = tensor.grad
    return state


def _has_more(tensor: Any) -> bool:
    """Whether it has attributes or names of dimensions."""
    named = any(name is not None for name in getattr(tensor, "names", ()))
    return bool(vars(tensor) or named)


def _decode(state: Any) -> Any:
    dtype, data = getattr(torch, str(state["dtype"]), None), state["storage"]
    if (
        not isinstance(dtype, torch.dtype)
        or str(dtype).startswith(_QUANTIZED)
        or not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
    ):
        raise CorruptArray(f"a stored tensor is damaged: its dtype is {state['dtype']!r:.100}")
    if not data.flags.writeable:  # PyTorch has no read-only tensors: a write would end the process
        once(data)
        data = data.copy()
    offset, shape, strides = state["offset"], tuple(state["shape"]), tuple(state["strides"])
    numbers = [offset, *shape, *strides]
    if len(shape) != len(strides) or not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers):
        raise CorruptArray("a stored tensor is damaged: its shape, strides or offset")
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if 0 not in shape and (last + 1) * dtype.itemsize > data.nbytes:
        raise CorruptArray("a stored tensor is damaged: its shape and strides do not fit its bytes")
    tensor = torch.empty(0, dtype=dtype).set_(torch.from_numpy(data).untyped_storage(), offset, shape, strides)
    tensor.requires_grad_(bool(state.get("requires_grad")))
    if "grad" in state:
        tensor.grad = state["grad"]
    return tensor


def _decode_parameter(state: Any) -> Any:
    tensor = _decode({name: one for name, one in state.items() if name not in {"grad", "requires_grad"}})
    parameter = torch.nn.Parameter(tensor, requires_grad=bool(state.get("requires_grad")))
    if "grad" in state:
        parameter.grad = state["grad"]
    return parameter


register(torch.Tensor, _encode, _decode, name="torch.tensor", private=True)
register(torch.nn.Parameter, _encode, _decode_parameter, name="torch.parameter", private=True)
