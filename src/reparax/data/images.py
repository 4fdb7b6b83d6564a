"""Folders of PNG and JPEG images, and grids of images."""

import math
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from reparax.data.arrays import read_labels
from reparax.data.dataset import Dataset, from_array
from reparax.data.files import visible_files
from reparax.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg")
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError, MemoryError)
SMALLEST_TILE = 64  # pixels; tiny images are enlarged to about this
LARGEST_PICTURE = 2000  # pixels; enlarging stops here
SEPARATOR = 128


def read_folder(folder: Path, label: str | Path | None) -> Dataset:
    """Every PNG and JPEG image of a folder and its subfolders, sorted by path.

    Gray images have one channel and color images three; gray images among color images become color, as do images with
    a palette. Transparent pixels are drawn on white. 16-bit gray images keep their 65536 levels; 1-bit images are 0/1.
    16-bit images with colors or transparency are read with 8 bits, of animated ones the first picture, with a note.
    Photographs are rotated according to their EXIF data. Hidden files are ignored, and so are other kinds of files,
    with a note. If every image is in a subfolder, the names of the subfolders are the labels.

    Raises:
        DataError: There are no images, or images that cannot be read or have different sizes.
    """
    files, notes = _files(folder)
    names = [_relative(folder, file) for file in files]
    images, broken, lost = [], [], Counter[str]()
    for file, name in zip(files, names, strict=True):
        try:
            image, losses = _decode(file)
        except _BROKEN:
            broken.append(name)
        else:
            images.append(image)
            lost.update(losses)
    if broken:
        raise _corrupt(folder, broken, len(files))
    if len({image.shape[:2] for image in images}) > 1:
        raise _different_sizes([image.shape[:2] for image in images], names)
    values, more = _stack(images)
    more += [f"{words} ({count} of {len(files)})" for words, count in lost.items()]
    labels = _labels(folder, files) if label is None else read_labels(Path(label), len(files))
    return from_array(values, labels=labels, ids=np.array(names), notes=(*notes, *more))


def _relative(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _files(folder: Path) -> tuple[list[Path], list[str]]:
    visible = visible_files(folder)
    files = sorted((f for f in visible if f.suffix.lower() in SUFFIXES), key=lambda file: _relative(folder, file))
    others = Counter(file.suffix.lower() or "no suffix" for file in visible if file.suffix.lower() not in SUFFIXES)
    listed = ", ".join(f"{count} x {suffix}" for suffix, count in others.most_common(5))
    if not files:
        raise DataError(
            expected=f"PNG or JPEG images, or tables, in the folder {folder}",
            got=f"other files ({listed})" if others else "an empty folder",
            cure="use a folder of images or of tables, or the path of a single data file",
        )
    unread = sum(others.values())
    files_are = "file that is not PNG or JPEG was" if unread == 1 else "files that are not PNG or JPEG were"
    notes = [f"{unread} {files_are} not read ({listed})"] if others else []
    return files, notes


@contextmanager
def _strict() -> Generator[None]:
    """Turns every failure of Pillow into an `OSError`; so does an image that is suspiciously large."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except (Image.DecompressionBombError, Image.DecompressionBombWarning, struct.error, zlib.error) as error:
            raise OSError(str(error)) from error


TRANSPARENT = "transparent parts of images were drawn on white"
SHALLOW = "16-bit images with colors or transparency were read with 8 bits"
ANIMATED = "of files with several pictures the first was read"
BIT_DEPTH = 24
"""Where a PNG file says how many bits each channel has."""


def _decode(file: Path) -> tuple[np.ndarray, list[str]]:
    """The pixels of an image, shape ``(height, width, channels)``, and notes on what they leave out of the file."""
    from PIL import Image, ImageOps

    with file.open("rb") as stream:
        start = stream.read(BIT_DEPTH + 1)
    with _strict(), Image.open(file, formats=("PNG", "JPEG")) as opened:
        image = ImageOps.exif_transpose(opened)
        notes = [ANIMATED] if getattr(opened, "n_frames", 1) > 1 else []
        gray = image.mode in {"L", "LA", "La"}
        if image.has_transparency_data:
            colors = image.convert("RGBA")
            white = Image.new("RGBA", colors.size, "white")
            image = Image.alpha_composite(white, colors)
            notes += [TRANSPARENT] if (np.asarray(colors)[..., 3] < 255).any() else []
        if image.mode.startswith("I") or image.mode == "F":
            pixels = np.asarray(image).astype(np.uint16)
        else:
            pixels = np.asarray(image if image.mode == "1" else image.convert("L" if gray else "RGB"))
            notes += [SHALLOW] if start[:4] == b"\x89PNG" and start[BIT_DEPTH] == 16 else []
        return pixels.reshape(image.height, image.width, -1), notes


def _stack(images: list[np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """All images in one array, and notes; the list is emptied, so that memory holds each image once.

    Raises:
        DataError: Some images have 16 bits and others 8.
    """
    dtypes = {image.dtype for image in images}
    num_deep = sum(image.dtype == np.uint16 for image in images)
    if 0 < num_deep < len(images):
        raise DataError(
            expected="images of one depth",
            got=f"{num_deep} of 16 bits among {len(images)} images",
            cure="convert all to 8 bits, or all to 16",
        )
    channels = max(image.shape[-1] for image in images)
    num_gray = sum(image.shape[-1] < channels for image in images)
    values = np.empty((len(images), *images[0].shape[:2], channels), np.uint8 if len(dtypes) > 1 else dtypes.pop())
    for index in reversed(range(len(images))):
        image = images.pop()
        values[index] = image * np.uint8(255) if image.dtype != values.dtype else image
    images_were = "image among color ones was" if num_gray == 1 else "images among color ones were"
    return values, [f"{num_gray} gray {images_were} read as color"] if num_gray else []


def _corrupt(folder: Path, names: list[str], total: int) -> DataError:
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return DataError(
        expected=f"{total} readable PNG or JPEG images in {folder}",
        got=f"{len(names)} that cannot be read: {listed}",
        cure="delete or replace them, as files are not skipped without your knowledge",
    )


def _different_sizes(sizes: list[tuple[int, ...]], names: list[str]) -> DataError:
    counted = Counter(sizes).most_common(4)
    described = "; ".join(
        f"{size[1]}x{size[0]} ({count}, such as {names[sizes.index(size)]})" for size, count in counted
    )
    more = len(set(sizes)) - len(counted)
    return DataError(
        expected="images of one size",
        got=f"width x height {described}{f' and {more} more sizes' if more else ''}",
        cure="resize or crop them to one size first",
    )


def _labels(folder: Path, files: list[Path]) -> np.ndarray | None:
    parents = [file.parent for file in files]
    if folder in parents:
        return None
    return np.array([_relative(folder, parent) for parent in parents])


def grid(images: np.ndarray, *, low: float = 0, high: float = 255, columns: int | None = None) -> np.ndarray:
    """Arranges images in a grid, with gray lines of one pixel between them; tiny images are enlarged.

    Args:
        images: Shape ``(n, height, width)`` or ``(n, height, width, channels)`` with 1, 3 or 4 channels.
        low: The value shown as black, like all values below.
        high: The value shown as white, like all values above.
        columns: The number of images in a row; by default, the grid is about square.

    Returns:
        A uint8 array of shape ``(height, width)`` for one channel, else ``(height, width, channels)``.

    Raises:
        DataError: The values are not images or not finite, or the range is empty.
    """
    images = np.asarray(images)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[-1] not in {1, 3, 4} or images.size == 0:
        raise DataError(
            expected="images of shape (n, height, width, channels) with 1, 3 or 4 channels",
            got=f"an array of shape {images.shape}",
            cure="write tables as csv, parquet, npy or npz",
        )
    if not np.isfinite(images).all() or not low < high:
        raise DataError(
            expected="finite pixels and low < high",
            got=f"NaN or infinity among the pixels, or the range {low} to {high}",
            cure="check the model that produced the images",
        )
    levels = np.rint((np.clip(images, low, high).astype(np.float32) - low) * (255 / (high - low))).astype(np.uint8)
    num_images, height, width, channels = levels.shape
    across = min(num_images, columns or math.ceil(math.sqrt(num_images * height / width)))
    down = math.ceil(num_images / across)
    scale = max(
        1, min(math.ceil(SMALLEST_TILE / max(height, width)), LARGEST_PICTURE // max(down * height, across * width))
    )
    levels = levels.repeat(scale, axis=1).repeat(scale, axis=2)
    tiles = np.full((down * across, height * scale + 1, width * scale + 1, channels), SEPARATOR, np.uint8)
    if channels == 4:
        tiles[..., 3] = 255
    tiles[:num_images, :-1, :-1] = levels
    rows = tiles.reshape(down, across, *tiles.shape[1:]).transpose(0, 2, 1, 3, 4)
    picture = rows.reshape(down * tiles.shape[1], across * tiles.shape[2], channels)[:-1, :-1]
    return picture[..., 0] if channels == 1 else picture
