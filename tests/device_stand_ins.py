"""Stand-ins for CuPy, torch and JAX where no GPU is: arrays in the host's memory that say they are on a GPU.

They have of the libraries what drrproj asks of them, and as those they refuse to become numpy arrays unasked.
"""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace

import numpy as np


def stand_in(name, monkeypatch, stream=0):
    """Install a stand-in for a library, and return a function that "moves" numpy arrays to the GPU and one back.

    What a backend may write to is another stand-in's, CuPy's, where the library has but DLPack. The current stream is
    what the returned ``stream`` says.
    """

    class Array:
        def __init__(self, host):
            self.host = host

        def __array__(self, *_, **__):
            raise TypeError("an array on a GPU does not become numpy's unasked")

        shape = property(lambda self: self.host.shape)
        dtype = property(lambda self: self.host.dtype)
        device = contextlib.nullcontext()

        def __getitem__(self, key):
            return Array(self.host[key])

        def __neg__(self):
            return Array(-self.host)

        def __rshift__(self, bits):
            return Array(self.host >> bits)

        def __and__(self, other):
            return Array(self.host & other)

        def __ne__(self, other):
            return Array(self.host != other)

        __hash__ = None

        def tolist(self):
            return self.host.tolist()

    def interface_of(array):
        interface = dict(array.host.__array_interface__)
        interface.pop("descr")
        return interface | {"version": 3}

    def set_part(array, key, value):
        array.host[key] = value

    Array.__module__ = name
    functions = {
        "exp": lambda array: Array(np.exp(array.host)),
        "reshape": lambda array, shape: Array(array.host.reshape(shape)),
        "stack": lambda arrays, axis: Array(np.stack([array.host for array in arrays], axis)),
    }
    if name == "jax":
        cupy = stand_in("cupy", monkeypatch, stream)
        sys.modules["cupy"].from_dlpack = lambda array: cupy.kind(array.__dlpack__())
        namespace = SimpleNamespace(**functions, from_dlpack=lambda made: Array(made.host))
        Array.__dlpack__ = lambda self: self.host
        Array.__dlpack_device__ = lambda self: (2, 0)
        Array.__array_namespace__ = lambda self: namespace
        return SimpleNamespace(
            to_gpu=Array, to_host=lambda array: array.host, made=cupy.made, kind=Array, memory=cupy.kind
        )
    Array.__cuda_array_interface__ = property(interface_of)
    Array.__setitem__ = set_part
    made = []
    moved = SimpleNamespace(
        to_gpu=Array, to_host=lambda array: array.host, made=made, kind=Array, memory=Array, stream=stream
    )

    def full(shape, value, dtype, device=None):
        made.append((tuple(shape), np.dtype(dtype)))
        return Array(np.full(shape, value, dtype))

    if name == "torch":
        cuda = SimpleNamespace(current_stream=lambda device: SimpleNamespace(cuda_stream=moved.stream))
    else:
        cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=moved.stream))
    library = SimpleNamespace(
        cuda=cuda,
        full=full,
        uint8=np.uint8,
        float32=np.float32,
        unique=lambda array: Array(np.unique(array.host)),
        **functions,
    )
    monkeypatch.setitem(sys.modules, name, library)
    return moved
