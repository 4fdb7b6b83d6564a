"""Folders of images."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from reparax.data import read
from reparax.errors import DataError


def save(path, array, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array), mode).save(path) if mode else Image.fromarray(np.asarray(array)).save(path)


def pixels(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_gray_and_color_folders_sorted_and_recursive(tmp_path):
    gray = [pixels((4, 5), seed) for seed in range(3)]
    for name, array in zip(("b/2.png", "a/10.png", "b/1.png"), gray, strict=True):
        save(tmp_path / name, array)
    dataset = read(tmp_path)
    assert dataset.ids.tolist() == ["a/10.png", "b/1.png", "b/2.png"]
    assert dataset.labels.tolist() == ["a", "b", "b"]
    np.testing.assert_array_equal(dataset.values[..., 0], [gray[1], gray[2], gray[0]])
    assert (dataset.schema.low, dataset.schema.high, dataset.schema.event_shape) == (0, 255, (4, 5, 1))

    save(tmp_path / "c.PNG", pixels((4, 5, 3)))
    dataset = read(tmp_path)
    assert dataset.labels is None
    assert "3 gray images among color ones" in dataset.notes[0]
    np.testing.assert_array_equal(dataset.values[-1], pixels((4, 5, 3)))
    np.testing.assert_array_equal(dataset.values[0], np.repeat(gray[1][..., None], 3, axis=-1))


def test_jpeg(tmp_path):
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).save(tmp_path / "b.JPEG", quality=95)
    dataset = read(tmp_path)
    np.testing.assert_allclose(dataset.values[:, 0, 0, 0].astype(int), [100, 200], atol=2)


def test_transparency_is_drawn_on_white(tmp_path):
    array = np.zeros((2, 2, 4), np.uint8)
    array[0, 0] = (10, 20, 30, 255)
    save(tmp_path / "a.png", array)
    dataset = read(tmp_path)
    np.testing.assert_array_equal(dataset.values[0, 0], [[10, 20, 30], [255, 255, 255]])
    assert "on white" in dataset.notes[0]


def test_palettes_become_color(tmp_path):
    image = Image.new("P", (2, 2))
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path).values[0, 0], [[10, 20, 30], [0, 0, 0]])
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read(tmp_path).values[0, 0], [[10, 20, 30], [255, 255, 255]])


def test_depths(tmp_path):
    save(tmp_path / "one" / "a.png", np.array([[True, False]]))
    assert read(tmp_path / "one").schema.value_kind == "binary"
    np.testing.assert_array_equal(read(tmp_path / "one").values[0, :, :, 0], [[1, 0]])
    save(tmp_path / "deep" / "a.png", np.array([[65535, 300]], np.uint16))
    dataset = read(tmp_path / "deep")
    np.testing.assert_array_equal(dataset.values[0, :, :, 0], [[65535, 300]])
    assert (dataset.values.dtype, dataset.schema.high) == (np.uint16, 65535)
    save(tmp_path / "deep" / "b.png", pixels((1, 2)))
    with pytest.raises(DataError, match="1 of 16 bits among 2 images"):
        read(tmp_path / "deep")


def test_photographs_are_turned_as_their_exif_data_say(tmp_path):
    image = Image.fromarray(pixels((4, 6)))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path).values[0, :, :, 0], np.rot90(pixels((4, 6)), -1))


def test_other_and_hidden_files(tmp_path):
    save(tmp_path / "a.png", pixels((2, 2)))
    (tmp_path / "._a.png").write_bytes(b"resource fork")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "b.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("hello")
    dataset = read(tmp_path)
    assert len(dataset) == 1
    assert dataset.notes == ("1 file that is not PNG or JPEG was not read (1 x .txt)",)


def test_corrupt_images_are_named(tmp_path):
    for index in range(4):
        save(tmp_path / f"{index}.png", pixels((16, 16), index))
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:150])
    with pytest.raises(DataError, match=r"1 that cannot be read: 1\.png; "):
        read(tmp_path)
    (tmp_path / "3.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"expected 4 readable .*; got 2 that cannot be read: 1\.png, 3\.png; "):
        read(tmp_path)


def test_images_too_large_to_be_sane_are_refused(tmp_path, monkeypatch):
    save(tmp_path / "a.png", pixels((16, 16)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    with pytest.raises(DataError, match=r"a\.png"):
        read(tmp_path)


def test_sizes_that_differ_are_named(tmp_path):
    for index, shape in enumerate([(4, 5), (4, 5), (7, 3)]):
        save(tmp_path / f"{index}.png", pixels(shape))
    with pytest.raises(DataError, match=r"5x4 \(2, such as 0\.png\); 3x7 \(1, such as 2\.png\)"):
        read(tmp_path)


def test_folders_without_images(tmp_path):
    with pytest.raises(DataError, match="an empty folder"):
        read(tmp_path)
    (tmp_path / "a.pdf").write_text("1,2\n")
    with pytest.raises(DataError, match=r"other files \(1 x \.pdf\)"):
        read(tmp_path)


def test_labels_of_a_folder_from_a_file(tmp_path):
    for name in "ab":
        save(tmp_path / "images" / f"{name}.png", pixels((2, 2)))
    (tmp_path / "labels.csv").write_text("x\ny\n")
    assert read(tmp_path / "images", label=tmp_path / "labels.csv").labels.tolist() == ["x", "y"]


def png(bits, colors, pixels):
    """A PNG file of one row with so many bits for each channel."""
    row = b"\0" + np.asarray(pixels, ">u2" if bits == 16 else np.uint8).tobytes()
    width = len(pixels) // {0: 1, 2: 3, 4: 2, 6: 4}[colors]
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, 1, bits, colors, 0, 0, 0),
        b"IDAT": zlib.compress(row),
        b"IEND": b"",
    }
    parts = [struct.pack(">I", len(c)) + t + c + struct.pack(">I", zlib.crc32(t + c)) for t, c in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("colors", [0, 2, 4, 6])
@pytest.mark.parametrize("bits", [8, 16])
def test_bits_that_are_lost_are_noted(tmp_path, colors, bits):
    full = 2**bits - 1
    (tmp_path / "a.png").write_bytes(png(bits, colors, [full, 0, 7, full] * 3))
    dataset = read(tmp_path)
    assert any("read with 8 bits (1 of 1)" in note for note in dataset.notes) == (bits == 16 and colors > 0)
    assert dataset.values.max() == (full if colors == 0 else 255)


def test_pictures_after_the_first_are_noted(tmp_path):
    first, *others = [Image.fromarray(pixels((4, 5, 3), seed)) for seed in range(3)]
    first.save(tmp_path / "a.png", save_all=True, append_images=others)
    first.save(tmp_path / "b.png")
    dataset = read(tmp_path)
    assert dataset.notes == ("of files with several pictures the first was read (1 of 2)",)
    np.testing.assert_array_equal(*dataset.values)
