"""Stand-ins for CuPy and torch where no GPU is: arrays in the host's memory that say they are on a GPU.

They have of the two libraries what drrproj asks of them, and as those they refuse to become numpy arrays unasked.
"""

from __future__ import annotations

import contextlib
import sys
from types import SimpleNamespace

import numpy as np


def stand_in(name, monkeypatch, stream=0):
    """Install a stand-in for a library, and return a function that "moves" numpy arrays to the GPU and one back."""

    class Array:
        def __init__(self, host):
            self.host = host

        @property
        def __cuda_array_interface__(self):
            interface = dict(self.host.__array_interface__)
            interface.pop("descr")
            return interface | {"version": 3}

        def __array__(self, *_, **__):
            raise TypeError("an array on a GPU does not become numpy's unasked")

        shape = property(lambda self: self.host.shape)
        dtype = property(lambda self: self.host.dtype)
        device = contextlib.nullcontext()

        def __getitem__(self, key):
            return Array(self.host[key])

        def __setitem__(self, key, value):
            self.host[key] = value

        def __neg__(self):
            return Array(-self.host)

        def __rshift__(self, bits):
            return Array(self.host >> bits)

        def __and__(self, other):
            return Array(self.host & other)

        def __ne__(self, other):
            return Array(self.host != other)

        __hash__ = None

        def reshape(self, shape):
            return Array(self.host.reshape(shape))

        def tolist(self):
            return self.host.tolist()

    Array.__module__ = name
    made = []

    def full(shape, value, dtype, device=None):
        made.append((tuple(shape), np.dtype(dtype)))
        return Array(np.full(shape, value, dtype))

    if name == "torch":
        cuda = SimpleNamespace(current_stream=lambda device: SimpleNamespace(cuda_stream=stream))
    else:
        cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=stream))
    library = SimpleNamespace(
        cuda=cuda,
        full=full,
        uint8=np.uint8,
        float32=np.float32,
        exp=lambda array: Array(np.exp(array.host)),
        unique=lambda array: Array(np.unique(array.host)),
        stack=lambda arrays, axis: Array(np.stack([array.host for array in arrays], axis)),
    )
    monkeypatch.setitem(sys.modules, name, library)
    return SimpleNamespace(to_gpu=Array, to_host=lambda array: array.host, made=made, kind=Array)
