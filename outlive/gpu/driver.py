"""NVIDIA's driver library (libcuda), by ctypes. A process has one, which PyTorch, JAX and CuPy use too.

Source: the CUDA driver API, "Memory Management", "Context Management" and "Primary Context Management".
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_void_p
from typing import Any

from outlive.errors import GpuUnavailable

_LIBRARY = "libcuda.so.1"
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxGetState": (c_int, POINTER(c_uint), POINTER(c_int)),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuCtxGetDevice": (POINTER(c_int),),
    "cuCtxSetCurrent": (c_void_p,),
    "cuCtxSynchronize": (),
    "cuMemHostRegister_v2": (c_void_p, c_size_t, c_uint),
    "cuMemHostUnregister": (c_void_p,),
}
_PORTABLE, _READ_ONLY = 0x01, 0x08  # flags of cuMemHostRegister
_KNOWS_READ_ONLY = 113  # CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED
_USES_OUR_PAGES = 100  # CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES: it needs no such flag
_INVALID_VALUE = 1  # CUDA_ERROR_INVALID_VALUE: of an attribute that an older driver does not know
_NOT_INITIALIZED = 3  # CUDA_ERROR_NOT_INITIALIZED: of cuInit, in a child of a process that has used CUDA
_NOT_REGISTERED = 713  # CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
_FORKED = (
    "this process was forked from one that uses a GPU, and CUDA does not work in it: start it by spawn or forkserver, "
    "as in multiprocessing.set_start_method('spawn')"
)


class Refused(GpuUnavailable):
    """The driver refused a call."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return Refused, (str(self), self.code)


class Driver:
    """The driver, ready for use. Raises GpuUnavailable: none is installed, or it has no GPU."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(_LIBRARY)
        except OSError:
            raise GpuUnavailable(
                f"NVIDIA's driver is not installed here ({_LIBRARY}). Without a GPU, use handle.get()"
            ) from None
        for name, arguments in _FUNCTIONS.items():
            getattr(self._library, name).argtypes = arguments
        self._pid = os.getpid()
        self._retained: dict[int, c_void_p] = {}
        try:
            self._call("cuInit", 0)
        except Refused as error:
            if error.code == _NOT_INITIALIZED:
                raise GpuUnavailable(_FORKED) from error
            raise

    def register(self, address: int, size: int, *, writable: bool) -> int:
        """Lock the pages of this memory, and let every GPU read them; returns the context in which that was done.

        Parameters
        ----------
        writable
            Whether this process may write to it. A page of a private map is then copied as it is locked.

        Raises
        ------
        Refused
            It is registered already, or the system has no more memory to lock.
        """
        with self._context() as context:
            flags = _PORTABLE if writable or not self._has(_KNOWS_READ_ONLY) else _PORTABLE | _READ_ONLY
            self._call("cuMemHostRegister_v2", address, size, flags)
            return context

    def unregister(self, address: int, context: int | None) -> None:
        """Unlock memory, once all that the GPUs of this process were asked to do is done. Raises Refused.

        `context` is what `register` returned; None if that was interrupted: the memory may be registered or not.
        """
        with self._context() if context is None else self._in(c_void_p(context)):
            self._call("cuCtxSynchronize")
            for device in self._active():
                with self._in(self._primary(device)):
                    self._call("cuCtxSynchronize")
            try:
                self._call("cuMemHostUnregister", address)
            except Refused as error:
                if error.code != _NOT_REGISTERED:
                    raise

    def takes_read_only(self) -> bool:
        """Whether memory can be registered that this process may only read."""
        with self._context():
            return self._has(_KNOWS_READ_ONLY) or self._has(_USES_OUR_PAGES)

    # --- contexts

    @contextlib.contextmanager
    def _context(self) -> Iterator[int]:
        """Run a block in this thread's context, else in that of the first GPU that this process uses, else of GPU 0."""
        context = self._current()
        if context.value is None:
            context = self._primary(next(iter(self._active()), 0))
        with self._in(context):
            yield context.value or 0

    @contextlib.contextmanager
    def _in(self, context: c_void_p) -> Iterator[None]:
        """Run a block in a context, and have the thread as it was. An interrupt may come between any two steps."""
        before = self._current()
        try:
            self._call("cuCtxSetCurrent", context)
            yield
        finally:
            self._call("cuCtxSetCurrent", before)

    def _current(self) -> c_void_p:
        context = c_void_p()
        self._call("cuCtxGetCurrent", byref(context))
        return context

    def _active(self) -> list[int]:
        """The GPUs that this process uses. PyTorch, JAX, CuPy and all of CUDA's runtime share one context of each."""
        count, flags, active = c_int(), c_uint(), c_int()
        self._call("cuDeviceGetCount", byref(count))
        found = []
        for device in range(count.value):
            self._call("cuDevicePrimaryCtxGetState", device, byref(flags), byref(active))
            if active.value:
                found.append(device)
        return found

    def _primary(self, device: int) -> c_void_p:
        """A GPU's context, which stays until this process ends, as CUDA's runtime has it."""
        if device not in self._retained:
            context = c_void_p()
            self._call("cuDevicePrimaryCtxRetain", byref(context), device)
            self._retained[device] = context
        return self._retained[device]

    def _has(self, attribute: int) -> bool:
        """Whether the GPU of the current context has this."""
        device, value = c_int(), c_int()
        self._call("cuCtxGetDevice", byref(device))
        try:
            self._call("cuDeviceGetAttribute", byref(value), attribute, device.value)
        except Refused as error:
            if error.code != _INVALID_VALUE:
                raise
        return bool(value.value)

    def _call(self, name: str, *arguments: Any) -> None:
        if self._pid != os.getpid():
            raise GpuUnavailable(_FORKED)
        if code := getattr(self._library, name)(*arguments):
            raise Refused(f"CUDA refused {name}: {self._words('cuGetErrorName', code)}, "
                          f"{self._words('cuGetErrorString', code)}", code)  # fmt: skip

    def _words(self, of: str, code: int) -> str:
        text = c_char_p()
        getattr(self._library, of)(code, byref(text))
        return (text.value or b"unknown").decode(errors="replace")
