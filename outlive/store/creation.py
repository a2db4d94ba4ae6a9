"""Creation: an array that is filled in place."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from outlive.arrays.draft import Draft
from outlive.arrays.info import ArrayInfo
from outlive.arrays.layout import PRIVATE
from outlive.arrays.parts import name
from outlive.arrays.writer import mapped
from outlive.errors import CreationEnded, StoreUnavailable
from outlive.store.commit import commit
from outlive.store.handle import ArrayHandle
from outlive.store.parts import Parts, fitting, select
from outlive.store.replicas import replicate
from outlive.store.session import Session

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


def checked(shape: int | tuple[int, ...], dtype: DTypeLike, order: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype and bytes of an array that may be created. Raises TypeError, ValueError."""
    shape = (int(shape),) if isinstance(shape, int | np.integer) else tuple(operator.index(n) for n in shape)
    if any(n < 0 for n in shape):
        raise ValueError(f"negative dimensions are not allowed: {shape}")
    if order not in ("C", "F"):
        raise ValueError(f"order is 'C' or 'F', not {order!r}")
    dtype = np.dtype(dtype)
    return shape, dtype, math.prod(shape) * dtype.itemsize


class Creation(Parts):
    """An array being made in place; see `Store.create`. Usable once, in a `with` statement.

    A task that it is passed to gets the `Parts`, and can write parts of the array.
    """

    def __init__(self, session: Session, info: ArrayInfo, mode: int = PRIVATE) -> None:
        super().__init__(info, session.node, session.connection.cluster)
        self._session, self._mode = session, mode
        self._draft: Draft | None = None
        self._pid = 0  # the process that entered the block
        self._handle: ArrayHandle | None = None

    @property
    def handle(self) -> ArrayHandle:
        """The stored array's handle, once the block has ended."""
        if self._handle is None:
            raise ValueError("the array is not stored yet, or was discarded: use `handle` after the `with` block")
        return self._handle

    def __enter__(self) -> np.ndarray[Any, Any]:
        if self._draft is not None:
            raise ValueError("an array can be created only once; call create() again")
        self._pid = os.getpid()
        self._draft = Draft.make(self._session.shelf, self._info, self._mode)
        try:
            array = mapped(self._draft)
            self._draft.open_gate()
        except BaseException:
            self._draft.discard()
            raise
        return array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        draft = self._draft
        assert draft is not None
        if os.getpid() != self._pid:  # a child forked in the block: its parent fills and stores the array
            return
        if kind is not None:
            draft.discard()
            return
        try:
            draft.detach()
            if self._info.key is None:
                draft.seal()
        except BaseException:
            draft.discard()
            raise
        if self._info.key is not None:
            commit(self._session, [draft])
        replicate(self._session, [draft.info])
        self._handle = ArrayHandle(draft.info, self._session.node)

    def _fill(self, index: Any, value: Any) -> None:
        if self._draft is None:
            raise not_begun()
        super()._fill(index, value)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._draft is None:
            raise not_begun()
        return super().__reduce__()


def not_begun() -> ValueError:
    """The error for a part that comes before the block."""
    return ValueError("the array is not being created yet: write parts, and pass it to tasks, in its `with` block")


class CreationOutside(Creation):
    """The same for a Ray Client: filled in this process's own memory, and put when the block ends."""

    def __init__(self, put: Callable[[np.ndarray[Any, Any]], ArrayHandle], info: ArrayInfo) -> None:
        Parts.__init__(self, info, "", "")
        self._put = put
        self._array: np.ndarray[Any, Any] | None = None
        self._handle: ArrayHandle | None = None
        self._over = False

    def __enter__(self) -> np.ndarray[Any, Any]:
        if self._array is not None:
            raise ValueError("an array can be created only once; call create() again")
        self._array = np.empty(self._info.shape, self.dtype, "F" if self._info.fortran else "C")
        return self._array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        if kind is None and self._array is not None:
            self._handle = self._put(self._array)
            self._array = np.empty(0)  # the caller may keep the filled memory: nobody else uses it

    def _fill(self, index: Any, value: Any) -> None:
        if self._over:
            raise CreationEnded(f"{name(self._info)} is not being created any more: the block of create() has ended")
        if self._array is None:
            raise not_begun()
        part = select(self._array, index)
        np.copyto(part, fitting(value, self.dtype, part.shape))

    def __reduce__(self) -> tuple[Any, ...]:
        raise StoreUnavailable(
            "a program outside the cluster (ray://) fills the array in its own memory, where no task can reach it. To "
            "have several tasks fill an array, call create() in a task of the cluster, and pass it on from there"
        )
