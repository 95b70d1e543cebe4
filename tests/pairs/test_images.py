"""Images of unknown origin: anything becomes RGB or a reason, and nothing huge is decoded."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from mm_sae_plugin.pairs import BadImage, decode_image


def _file(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def _bomb(width, height):
    """A PNG of a few bytes whose header promises an enormous picture."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode):
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    decoded = decode_image(_file(Image.new(mode, (5, 4)), kind))
    assert (decoded.mode, decoded.size) == ("RGB", (5, 4))


def test_sixteen_bit_grey_keeps_its_tones():
    grey = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    pixels = np.asarray(decode_image(_file(grey, "TIFF")))[0, :, 0]
    assert pixels.tolist() == [0, 128, 255]


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    file = _file(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(file).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("size", [(9_000, 9_000), (12_000, 10_000), (60_000, 60_000)])
def test_a_huge_image_is_refused_before_it_is_decoded(size, recwarn):
    tracemalloc.start()
    with pytest.raises(BadImage, match="pixels"):
        decode_image(_bomb(*size))
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
    assert not recwarn.list


def test_the_limit_is_settable():
    file = _file(Image.new("RGB", (10, 10)))
    with pytest.raises(BadImage, match="10×10"):
        decode_image(file, max_pixels=99)
    file.seek(0)
    assert decode_image(file, max_pixels=100).size == (10, 10)


def test_missing_and_foreign_files_have_reasons(tmp_path):
    with pytest.raises(BadImage, match="no such file"):
        decode_image(tmp_path / "nothing.png")
    (tmp_path / "page.png").write_text("<html>404</html>")
    with pytest.raises(BadImage, match="not an image"):
        decode_image(tmp_path / "page.png")
    with pytest.raises(BadImage, match="a folder, not a regular file"):
        decode_image(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
def test_damage_gives_a_picture_or_a_reason(data, kind):
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    content = bytearray(_file(Image.fromarray(noise), kind).getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(content)))
    try:
        decoded = decode_image(io.BytesIO(bytes(content[:cut])))
    except BadImage as error:
        assert str(error)
    else:
        assert decoded.mode == "RGB"
