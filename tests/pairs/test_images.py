"""Images of unknown origin: anything becomes RGB or a reason, and nothing huge is decoded."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import BadImage, ImageReader, decode_image
from mm_sae_plugin.pairs.images import image_digest


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


def _half_clear(mode):
    """Left half black, right half transparent black."""
    rgba = Image.new("RGBA", (4, 4), (0, 0, 0, 255))
    rgba.paste((0, 0, 0, 0), (2, 0, 4, 4))
    if mode != "P":
        return rgba.convert(mode)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    palette.paste(1, (2, 0, 4, 4))
    return palette


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("RGBA", "PNG", {}),
        ("LA", "PNG", {}),
        ("P", "PNG", {"transparency": 1}),
        ("P", "GIF", {"transparency": 1}),
        ("RGBA", "WEBP", {"lossless": True}),
        ("RGBA", "TIFF", {}),
    ],
)
@pytest.mark.parametrize(
    ("background", "ground"), [("white", (255, 255, 255)), ("#102030", (16, 32, 48))]
)
def test_transparent_pictures_lie_on_the_background(mode, kind, options, background, ground):
    file = _file(_half_clear(mode), kind, **options)
    picture = ImageReader(background).read(file)
    assert (picture.image.getpixel((0, 0)), picture.image.getpixel((3, 3))) == ((0, 0, 0), ground)
    assert picture.had_alpha and not picture.one_colour


def test_half_transparent_pixels_are_mixed():
    file = _file(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))
    picture = ImageReader().read(file)
    assert picture.image.getpixel((0, 0)) == (127, 127, 127)
    assert picture.had_alpha and picture.one_colour


def test_one_transparent_tone_of_a_grey_picture():
    for mode, dtype in (("L", np.uint8), ("I;16", np.uint16)):
        grey = Image.fromarray(np.array([[0, 7]], dtype=dtype))
        assert grey.mode == mode
        picture = ImageReader().read(_file(grey, "PNG", transparency=7))
        assert np.asarray(picture.image)[0, :, 0].tolist() == [0, 255] and picture.had_alpha


def test_an_alpha_channel_that_hides_nothing_is_not_counted():
    picture = ImageReader().read(_file(Image.new("RGBA", (2, 2), (9, 8, 7, 255))))
    assert not picture.had_alpha and picture.one_colour
    assert picture.image.getpixel((0, 0)) == (9, 8, 7)


@pytest.mark.parametrize("colour", ["#ffffff00", "#12345678", "no-colour", ""])
def test_a_background_that_is_no_colour_is_refused(colour):
    with pytest.raises(UserError, match="no opaque colour"):
        ImageReader(colour)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_of_the_camera_is_applied(orientation, kind):
    from PIL import ImageOps

    raw = Image.new("RGB", (32, 16), "black")
    raw.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = _file(raw, kind, exif=exif)
    decoded = decode_image(file)
    assert decoded.size == ((32, 16) if orientation < 5 else (16, 32))
    with Image.open(file) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert decoded.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 100, 255]], dtype=np.int32), [0, 100, 255]),
        (np.array([[0, 32768, 65535]], dtype=np.int32), [0, 128, 255]),
        (np.array([[0, 2**30, 2**31 - 1]], dtype=np.int32), [0, 128, 255]),
        (np.array([[-1000, 1000, 3000]], dtype=np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0, 0.25, 0.5]], dtype=np.float32), [0, 64, 128]),
        (np.array([[0, 100, 200]], dtype=np.float32), [0, 100, 200]),
        (np.array([[0, 6553.5, 65535]], dtype=np.float32), [0, 26, 255]),
        (np.array([[-1, 0, 1]], dtype=np.float32), [0, 128, 255]),
    ],
)
def test_wide_greys_keep_their_range(values, expected):
    pixels = np.asarray(decode_image(_file(Image.fromarray(values), "TIFF")))[0, :, 0]
    assert pixels.tolist() == expected


def test_sixteen_bits_of_every_format_have_one_scale():
    # A dark picture stays dark, though its numbers would fit into eight bits.
    values = np.array([[0, 200, 257]], dtype=np.uint16)
    pgm = io.BytesIO(b"P5 3 1 65535\n" + values.astype(">u2").tobytes())
    for file in (
        _file(Image.fromarray(values), "TIFF"),
        _file(Image.fromarray(values), "PNG"),
        pgm,
    ):
        assert np.asarray(decode_image(file))[0, :, 0].tolist() == [0, 1, 1]


def test_numbers_that_are_not_finite_are_a_reason():
    values = np.array([[0, np.nan]], dtype=np.float32)
    with pytest.raises(BadImage, match="not finite"):
        decode_image(_file(Image.fromarray(values), "TIFF"))


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path):
    import os
    import socket

    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name, reason in (("pipe.png", "a pipe"), ("socket.png", "a socket")):
            with pytest.raises(BadImage, match=f"{reason}, not a regular file"):
                decode_image(tmp_path / name)
            with pytest.raises(BadImage, match=reason):
                image_digest(tmp_path / name)
    with pytest.raises(BadImage, match="a device"):
        decode_image("/dev/zero")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(BadImage, match="link to nothing"):
        decode_image(tmp_path / "link.png")


def test_a_limit_above_that_of_pillow_counts(monkeypatch):
    # Pillow refuses above twice its own number, whatever the caller allows.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    file = _file(Image.new("RGB", (10, 10)))
    with pytest.raises(BadImage, match=r"--max-pixels 39|--max-pixels\)"):
        decode_image(file, max_pixels=39)
    file.seek(0)
    assert decode_image(file, max_pixels=100).size == (10, 10)
    assert Image.MAX_IMAGE_PIXELS == 40


def test_the_limit_is_named_with_its_option():
    with pytest.raises(BadImage, match=r"10×10 pixels.*--max-pixels 99\)"):
        decode_image(_file(Image.new("RGB", (10, 10))), max_pixels=99)
    with pytest.raises(UserError, match="max_pixels must be at least 1"):
        ImageReader(max_pixels=0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "PPM", "TIFF"])
def test_one_changed_patch_changes_the_digest(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    files = []
    for change in (0, 90):
        noise[100:104, 100:104] ^= change
        files.append(_file(Image.fromarray(noise), kind).getvalue())
    assert image_digest(files[0]) != image_digest(files[1])
    (tmp_path / "copy").write_bytes(files[0])
    assert image_digest(tmp_path / "copy") == image_digest(files[0])
    assert 0 < image_digest(files[0]) < 2**63


def test_rules_name_all_that_decides_which_pictures_there_are():
    readers = (ImageReader(), ImageReader("black"), ImageReader(max_pixels=99))
    assert len({reader.rules for reader in readers}) == 3
    assert ImageReader("#ffffff").rules == ImageReader("white").rules


def test_one_changed_byte_in_the_middle_of_any_other_format_changes_the_digest():
    for start in (b"P3 300 300 255\n", b"P5 300 300 255\n", b"II+\0", b"BM", b"GIF89a", b"unknown"):
        first, other = bytearray(start.ljust(90_000, b"1")), bytearray(start.ljust(90_000, b"1"))
        other[45_000] = ord("2")
        assert image_digest(bytes(first)) != image_digest(bytes(other))
