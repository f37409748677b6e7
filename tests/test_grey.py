"""Grey pictures of other programs: what has more than 16 bits, or more pixels than fit, is refused in one sentence."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest

from drrproj.io.grey import decode_grey, encode_grey, read_grey


def tiff(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "TIFF")
    return file.getvalue()


def big_endian_tiff(pixels):
    fields = {256: pixels.shape[1], 257: pixels.shape[0], 258: 16, 259: 1, 262: 1, 273: 8, 277: 1, 278: pixels.shape[0]}
    content = pixels.astype(">u2").tobytes()
    fields[279] = len(content)
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in fields.items())
    start = b"MM\0*" + struct.pack(">I", 8 + len(content))
    return start + content + struct.pack(">H", len(fields)) + entries + bytes(4)


@pytest.mark.parametrize(("low", "high"), [(0, 65536), (0, 2**31 - 1), (-1, 5)])
def test_numbers_beyond_16_bits_are_refused(low, high, tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(np.array([[low, high]], np.int32)))
    with pytest.raises(ValueError, match=rf"a\.tif: a grey picture has numbers from 0 to 65535; .* {low} to {high}"):
        read_grey(tmp_path / "a.tif")


def test_numbers_in_16_bits_are_read_from_32(tmp_path):
    pixels = decode_grey(tiff(np.array([[0, 65535]], np.int32)), "here")
    assert (pixels.dtype, pixels.tolist()) == (np.uint16, [[0, 65535]])


def test_16_bits_are_read_in_either_byte_order():
    pixels = np.array([[1, 258, 65535]], np.uint16)
    np.testing.assert_array_equal(decode_grey(tiff(pixels), "here"), pixels)
    read = decode_grey(big_endian_tiff(pixels), "here")
    assert read.dtype == np.uint16
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, pixels)


def test_a_picture_of_too_many_pixels_is_refused_by_name(tmp_path):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    start = encode_grey(np.zeros((1, 1), np.uint8))[:8]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(start + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))
    with pytest.raises(ValueError, match=r"a\.png: this is no picture, or a damaged one: .*10000000000 pixels"):
        read_grey(tmp_path / "a.png")
