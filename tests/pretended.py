"""An accelerator that is pretended: it computes on the CPU, and is as strict as a GPU about where tensors lie.

    from tests.pretended import DEVICE
    model = EditableModel.load(folder, device=DEVICE)

torch knows it as a backend of its own ("pretended:0"), so whatever makes, moves or asks for tensors does there what it
would do on a GPU. How it differs from the CPU:

- **No mixing.** An operation takes its own tensors, and of the CPU's only those that CUDA takes: numbers (tensors
  without dimensions) in elementwise operations, indices in brackets, and whatever is copied.
- **Other rounding.** Products of matrices are made in float64 and rounded once, those in float64 are summed in another
  order; eigenvectors and singular vectors have the other sign; what is drawn without a generator is other numbers.
- **No memory that numpy could see**, and no generator of the CPU's.
- Within `lacking(dtype)` it has no tensors of that dtype.

What it does not pretend: speed, memory that ends, work that is done later than it was asked for, and CUDA's own names
(`device.type == "cuda"`, autocast, `torch.cuda`).
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import backend_registration

DEVICE = "pretended"
aten = torch.ops.aten

COPIES = {aten.copy_, aten._to_copy, aten._copy_from}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
"""The indices of these may lie on the CPU, which CUDA copies."""
WITH_NUMBERS = {aten.index_put, aten.index_put_, aten._index_put_impl_, aten.masked_fill, aten.masked_fill_}
"""Beside the elementwise operations: their values may be a number on the CPU."""
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.mv, aten.addmv, aten.dot}
VECTORS = {aten.linalg_eigh: (1,), aten._linalg_eigh: (1,), aten._linalg_svd: (0, 2), aten.linalg_qr: (0, 1)}
"""Where in the result the vectors are whose sign is free."""
RANDOM = torch.Generator().manual_seed(20240717)

_lacking: set[torch.dtype] = set()


class Pretended(Tensor):
    """A tensor there. `inner` holds its elements; views share them, as the tensors' own would."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        if inner.dtype in _lacking:
            raise TypeError(f"{DEVICE} has no {inner.dtype}")
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(DEVICE, 0),
        )
        made.inner = inner
        return made

    def __init__(self, inner: Tensor) -> None: ...

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{self.inner!r} on {self.device}"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """With this a module that moves there keeps its parameters, and they stay shared, as on a GPU."""
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], meta: None, size: Any, stride: Any) -> Pretended:
        return Pretended(inner["inner"])

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.inner.untyped_storage()  # who asks wants to know what shares memory

    @property
    def data(self) -> Tensor:
        return Tensor.data.__get__(self)

    @data.setter
    def data(self, value: Tensor) -> None:
        Tensor.data.__set__(self, value)
        self.inner = value.inner  # type: ignore[attr-defined]

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _is_made_of_others(op):  # in inference mode they come as they are
            return op.decompose(*args, **(kwargs or {}))
        return _run(op, args, kwargs or {})


def held() -> int:
    """Bytes that lie there, whether anything can still reach them or not."""
    storages = {}
    for one in gc.get_objects():
        if type(one) is Pretended:
            memory = one.inner.untyped_storage()
            storages[memory.data_ptr()] = memory.nbytes()
    return sum(storages.values())


class Module(backend_registration._DummyBackendModule):
    """What `torch.get_device_module` gives, as `torch.cuda` is for CUDA.

    Attributes:
        emptied: how often its cache was emptied.
    """

    emptied = 0

    def empty_cache(self) -> None:
        self.emptied += 1

    def memory_allocated(self, device: Any = None) -> int:
        return held()


@contextlib.contextmanager
def lacking(*dtypes: torch.dtype) -> Iterator[None]:
    """Within it the device has no tensors of these dtypes."""
    _lacking.update(dtypes)
    try:
        yield
    finally:
        _lacking.difference_update(dtypes)


def _run(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation on the elements, after a look at where everything lies."""
    _check(op, args, kwargs)
    asked = kwargs.get("device")
    here = asked is None or torch.device(asked).type == DEVICE
    inner = [_inside(arg) for arg in args]
    named = {name: _inside(arg) for name, arg in kwargs.items()}
    if asked is not None and here:
        named["device"] = torch.device("cpu")
    if _is_random(op) and named.get("generator") is None:
        named["generator"] = RANDOM
    if op._schema.is_mutable:
        result = op(*inner, **named)
        return _written(op, args, kwargs, result)
    result = _rounded(op, inner, named)
    return _outside(result) if here else result


def _check(op: Any, args: Any, kwargs: dict[str, Any]) -> None:
    packet = op.overloadpacket
    if packet in COPIES:
        return
    numbers = packet in WITH_NUMBERS or torch.Tag.pointwise in op.tags
    for argument, value in _given(op, args, kwargs):
        if isinstance(value, torch.Generator) and value.device.type != DEVICE:
            raise RuntimeError(f"{op}: expected a {DEVICE!r} device type for generator but found {value.device}")
        if packet in INDEXING and argument.name == "indices" and isinstance(args[0], Pretended):
            continue
        written = argument.alias_info is not None and argument.alias_info.is_write
        for tensor in _tensors(value):
            if not isinstance(tensor, Pretended) and (tensor.ndim or written or not numbers):
                raise RuntimeError(
                    f"{op}: expected all tensors to be on the same device: {argument.name} is on {tensor.device} "
                    f"({tuple(tensor.shape)}), others are on {DEVICE}:0"
                )


def _given(op: Any, args: Any, kwargs: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """(the argument in the operation's schema, what is given for it)"""
    for i, argument in enumerate(op._schema.arguments):
        if i < len(args):
            yield argument, args[i]
        elif argument.name in kwargs:
            yield argument, kwargs[argument.name]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)


def _inside(value: Any) -> Any:
    if isinstance(value, Pretended):
        return value.inner
    return [_inside(one) for one in value] if isinstance(value, (list, tuple)) else value


def _outside(value: Any) -> Any:
    if isinstance(value, Tensor):
        return Pretended(value)
    return type(value)(_outside(one) for one in value) if type(value) in (list, tuple) else value


@functools.cache
def _is_made_of_others(op: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "CompositeImplicitAutograd")


@functools.cache
def _is_random(op: Any) -> bool:
    return any(argument.name == "generator" for argument in op._schema.arguments)


def _written(op: Any, args: Any, kwargs: dict[str, Any], result: Any) -> Any:
    """What an operation returns that writes: the tensors that it wrote into."""
    targets = [
        value
        for argument, value in _given(op, args, kwargs)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    for target in _tensors(targets):
        if isinstance(target, Pretended) and _layout(target) != _layout(target.inner):
            target.data = Pretended(target.inner)
    if not op._schema.returns:
        return None
    return targets[0] if isinstance(result, Tensor) else targets


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride()


def _rounded(op: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """The result, as another device would round it."""
    packet = op.overloadpacket
    if packet in VECTORS:
        found = list(op(*args, **kwargs))
        for i in VECTORS[packet]:
            found[i] = -found[i]
        return tuple(found)
    if packet not in PRODUCTS or not args[-1].is_floating_point():
        return op(*args, **kwargs)
    *added, left, right = args
    if left.dtype == torch.float64:
        left, right = left.flip(-1), right.flip(-2 if right.ndim > 1 else -1)
        return op(*added, left, right, **kwargs)
    wide = op(*(arg.double() for arg in (*added, left, right)), **kwargs)
    return wide.to(left.dtype)


def _register() -> torch.library.Library:
    """Make the device known to torch, with what it cannot do without: empty tensors, and copies to and fro."""
    backend_registration._setup_privateuseone_for_python_backend(DEVICE, Module())  # type: ignore[no-untyped-call]
    library = torch.library.Library("aten", "IMPL")
    for op in (
        aten.empty.memory_format,
        aten.empty_strided.default,
        aten.tril_indices.default,
        aten.triu_indices.default,
    ):
        library.impl(op, lambda *args, op=op, **kwargs: _run(op, args, kwargs), DEVICE_KEY)
    library.impl("_copy_from", _copied, DEVICE_KEY)
    return library


def _copied(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _inside(target).copy_(_inside(source))
    return target


DEVICE_KEY = "PrivateUse1"
LIBRARY = _register()
