"""Stand-ins for CuPy, torch and JAX where no GPU is: arrays in the host's memory that say they are on a GPU.

They have of the libraries what drrproj asks of them, and as those they refuse to become numpy arrays unasked.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np


def stand_in(name, monkeypatch, stream=0):
    """Install a stand-in for a library, and return a function that "moves" numpy arrays to the GPU and one back.

    What a backend may write to is another stand-in's, CuPy's, where the library has but DLPack. The current stream is
    what the returned ``stream`` says.
    """

    class Device:
        """A GPU: current as long as it is entered."""

        def __init__(self, number):
            self.id = self.index = number

        def __enter__(self):
            current.append(self.id)

        def __exit__(self, *_):
            current.pop()

    # Devices that are current, the last one now.
    current = [0]

    class Array:
        def __init__(self, host, device=0):
            self.host, self.device = host, Device(device)

        def __array__(self, *_, **__):
            raise TypeError("an array on a GPU does not become numpy's unasked")

        shape = property(lambda self: self.host.shape)
        dtype = property(lambda self: self.host.dtype)

        ndim = property(lambda self: self.host.ndim)
        nbytes = property(lambda self: self.host.nbytes)

        def __getitem__(self, key):
            return Array(self.host[key], self.device.id)

        def __invert__(self):
            return Array(~at_work(self), self.device.id)

        def __neg__(self):
            return Array(-at_work(self), self.device.id)

        def __rshift__(self, bits):
            return Array(at_work(self) >> bits, self.device.id)

        def __and__(self, other):
            return Array(at_work(self) & other, self.device.id)

        def __ne__(self, other):
            return Array(at_work(self) != other, self.device.id)

        def __truediv__(self, other):
            return Array(at_work(self) / other, self.device.id)

        def __iadd__(self, other):
            at_work(self)[...] += other.host
            return self

        def __isub__(self, other):
            at_work(self)[...] -= other.host
            return self

        def __imul__(self, other):
            at_work(self)[...] *= other.host
            return self

        def __ior__(self, other):
            at_work(self)[...] |= other.host
            return self

        def __itruediv__(self, other):
            at_work(self)[...] /= other
            return self

        __hash__ = None

        def clip(self, min=None, max=None):
            return Array(at_work(self).clip(min, max), self.device.id)

        def tolist(self):
            return self.host.tolist()

    def interface_of(array):
        interface = dict(array.host.__array_interface__)
        interface.pop("descr")
        return interface | {"version": 3}

    def set_part(array, key, value):
        place = key.host if isinstance(key, Array) else key
        at_work(array)[place] = value.host if isinstance(value, Array) else value

    def at_work(array):
        if current[-1] != array.device.id:
            raise RuntimeError(f"the work went to a stream of device {current[-1]}, not {array.device.id}")
        return array.host

    Array.__module__ = name
    functions = {
        "log": lambda array: Array(np.log(at_work(array)), array.device.id),
        "minimum": lambda a, b, out: np.minimum(at_work(a), at_work(b), out=out.host),
        "exp": lambda array: Array(np.exp(at_work(array)), array.device.id),
        "reshape": lambda array, shape: Array(array.host.reshape(shape), array.device.id),
        "stack": lambda arrays, axis=0: Array(
            np.stack([at_work(array) for array in arrays], axis), arrays[0].device.id
        ),
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
    # Of what both have, each has one name.
    if name == "torch":
        Array.double = lambda self: Array(at_work(self).astype(np.float64), self.device.id)
        Array.clone = lambda self: Array(at_work(self).copy(), self.device.id)
    else:
        Array.astype = lambda self, dtype: Array(at_work(self).astype(dtype), self.device.id)
        Array.copy = lambda self: Array(at_work(self).copy(), self.device.id)
    made = []
    moved = SimpleNamespace(
        to_gpu=Array, to_host=lambda array: array.host, made=made, kind=Array, memory=Array, stream=stream
    )

    def full(shape, value, dtype, device=None):
        made.append((tuple(shape), np.dtype(dtype)))
        return Array(np.full(shape, value, dtype), current[-1] if device is None else device.id)

    if name == "torch":
        cuda = SimpleNamespace(
            current_stream=lambda device: SimpleNamespace(cuda_stream=moved.stream), device=lambda device: device
        )
    else:
        cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(ptr=moved.stream))
    library = SimpleNamespace(
        cuda=cuda,
        full=full,
        uint8=np.uint8,
        float32=np.float32,
        float64=np.float64,
        int32=np.int32,
        unique=lambda array: Array(np.unique(at_work(array))),
        **functions,
    )
    monkeypatch.setitem(sys.modules, name, library)
    return moved
