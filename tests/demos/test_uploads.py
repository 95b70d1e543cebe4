"""What a visitor may upload."""

import struct
import zlib

import pytest
from PIL import Image

from mm_sae_plugin.demos.common.uploads import MAX_UPLOAD_BYTES, uploaded_picture
from mm_sae_plugin.errors import UserError


def bomb(path, width, height):
    """Write a PNG of some kilobytes that says it has that many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(3_000_000), 9)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    return path


def test_a_picture_comes_upright_and_opaque(tmp_path):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (6, 4), (255, 0, 0, 0)).save(path)
    picture = uploaded_picture(path)
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGB", (6, 4), (255,) * 3)


# The second is beyond what Pillow itself opens.
@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    path = bomb(tmp_path / "bomb.png", side, side)
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match=r"^The picture has more than 64 million pixels: .*\.$"):
        uploaded_picture(path)


def test_a_large_file_is_refused_unread(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(MAX_UPLOAD_BYTES + 1)
    with pytest.raises(UserError, match=r"^The file has 20\.0 MB, more than the limit of 20 MB: "):
        uploaded_picture(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"just text", "The picture cannot be used: not an image, or of an unknown format."),
        (b"", "The picture cannot be used: not an image, or of an unknown format."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "The picture cannot be used: not an image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "The picture cannot be used: "),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, content, sentence):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(UserError) as told:
        uploaded_picture(path)
    assert str(told.value).startswith(sentence)
    assert "\n" not in str(told.value) and str(tmp_path) not in str(told.value)


def test_none_and_one_that_is_gone(tmp_path):
    with pytest.raises(UserError, match="Choose a picture first"):
        uploaded_picture(None)
    with pytest.raises(UserError, match="not there any more"):
        uploaded_picture(tmp_path / "gone.png")
