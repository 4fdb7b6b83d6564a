"""Folders of PNG and JPEG images."""

import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reparax.data._dataset import Dataset, from_array
from reparax.data._labels import read_labels
from reparax.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError, MemoryError)


def read_folder(folder: Path, label: str | Path | None) -> Dataset:
    """Every PNG and JPEG image of a folder and its subfolders, sorted by path.

    Gray images have one channel, color images three; among color images, gray ones become color. A palette
    becomes color. Transparency is laid over white. 16-bit gray keeps its 65536 levels; 1-bit images are 0/1.
    Photographs are turned the way their EXIF data say. Hidden files are left out, other kinds of files too, with a note.
    When every image lies in a subfolder, the subfolders' names are the labels.

    Raises:
        DataError: No images, images that cannot be read, or images of different sizes.
    """
    files, notes = _files(folder)
    sizes, modes = _headers(folder, files)
    if len(set(sizes)) > 1:
        raise _different_sizes(sizes, [_relative(folder, file) for file in files])
    mode, more = _common_mode(modes)
    ids = np.array([_relative(folder, file) for file in files])
    values = _pixels(folder, files, mode, sizes[0])
    if any(seen in _TRANSPARENT for seen in modes):
        more.append("transparent parts of images were laid over white")
    labels = _labels(folder, files) if label is None else read_labels(Path(label), len(files))
    return from_array(values, labels=labels, ids=ids, notes=(*notes, *more))


def _relative(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _files(folder: Path) -> tuple[list[Path], list[str]]:
    visible = [
        file
        for file in folder.rglob("*")
        if not any(part.startswith(".") for part in file.relative_to(folder).parts) and file.is_file()
    ]
    files = sorted((f for f in visible if f.suffix.lower() in SUFFIXES), key=lambda file: _relative(folder, file))
    others = Counter(file.suffix.lower() or "no suffix" for file in visible if file.suffix.lower() not in SUFFIXES)
    listed = ", ".join(f"{count} x {suffix}" for suffix, count in others.most_common(5))
    if not files:
        raise DataError(
            expected=f"PNG or JPEG images in the folder {folder}",
            got=f"other files ({listed})" if others else "an empty folder",
            cure="give a folder of images, or the path of a single data file",
        )
    notes = [f"{sum(others.values())} files that are not PNG or JPEG were not read ({listed})"] if others else []
    return files, notes


def _open(file: Path) -> "Image.Image":
    """An image turned the way its EXIF data say."""
    from PIL import Image, ImageOps

    image = Image.open(file, formats=("PNG", "JPEG"))
    if image.getexif().get(0x0112, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _headers(folder: Path, files: list[Path]) -> tuple[list[tuple[int, int]], list[str]]:
    """Size and mode of every image.

    Raises:
        DataError: Names every image of the folder that cannot be read.
    """
    sizes, modes, broken = [], [], []
    for file in files:
        try:
            with _strict(), _open(file) as image:
                sizes.append(image.size)
                modes.append(
                    "transparent palette" if image.mode == "P" and "transparency" in image.info else image.mode
                )
        except _BROKEN:
            broken.append(file)
    if broken:
        broken += [file for file in files if file not in set(broken) and not _decodes(file)]
        raise _corrupt(folder, broken, len(files))
    return sizes, modes


@contextmanager
def _strict() -> Generator[None]:
    """Within, every way in which Pillow fails is an `OSError`; images too large to be sane fail, too."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except (Image.DecompressionBombError, Image.DecompressionBombWarning, struct.error, zlib.error) as error:
            raise OSError(str(error)) from error


def _decodes(file: Path) -> bool:
    try:
        with _strict(), _open(file) as image:
            image.load()
    except _BROKEN:
        return False
    return True


def _corrupt(folder: Path, broken: list[Path], total: int) -> DataError:
    names = sorted(_relative(folder, file) for file in broken)
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return DataError(
        expected=f"{total} readable PNG or JPEG images in {folder}",
        got=f"{len(names)} that cannot be read: {listed}",
        cure="delete or replace them; none is left out in silence",
    )


def _different_sizes(sizes: list[tuple[int, int]], names: list[str]) -> DataError:
    counted = Counter(sizes).most_common(4)
    described = "; ".join(
        f"{width}x{height} ({count}, such as {names[sizes.index((width, height))]})"
        for (width, height), count in counted
    )
    more = len(set(sizes)) - len(counted)
    return DataError(
        expected="images of one size",
        got=f"width x height {described}{f' and {more} more sizes' if more else ''}",
        cure="resize or crop them to one size first",
    )


_GRAY, _TRANSPARENT = {"1", "L", "LA"}, {"LA", "La", "RGBA", "RGBa", "PA", "transparent palette"}


def _common_mode(modes: list[str]) -> tuple[str, list[str]]:
    """The mode that all images are read in, and notes."""
    deep = [mode for mode in modes if mode.startswith("I") or mode == "F"]
    if deep and len(deep) < len(modes):
        raise DataError(
            expected="images of one depth",
            got=f"{len(deep)} images of 16 bits among {len(modes)}",
            cure="convert all to 8 bits, or all to 16",
        )
    if deep:
        return "I;16", []
    if set(modes) == {"1"}:
        return "1", []
    num_gray = sum(mode in _GRAY for mode in modes)
    if num_gray == len(modes):
        return "L", []
    return "RGB", [f"{num_gray} gray images among color ones were read as color"] if num_gray else []


def _pixels(folder: Path, files: list[Path], mode: str, size: tuple[int, int]) -> np.ndarray:
    shape = (len(files), size[1], size[0], 3 if mode == "RGB" else 1)
    values = np.empty(shape, {"1": np.bool_, "I;16": np.uint16}.get(mode, np.uint8))
    broken = []
    for index, file in enumerate(files):
        try:
            with _strict(), _open(file) as image:
                values[index] = np.asarray(_convert(image, mode)).reshape(shape[1:])
        except _BROKEN:
            broken.append(file)
    if broken:
        raise _corrupt(folder, broken, len(files))
    return values


def _convert(image: "Image.Image", mode: str) -> "Image.Image":
    from PIL import Image

    if mode in {"1", "I;16"}:
        return image
    if image.mode in _TRANSPARENT or (image.mode == "P" and "transparency" in image.info):
        colors = image.convert("RGBA")
        white = Image.new("RGBA", colors.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, colors).convert(mode)
    return image.convert(mode)


def _labels(folder: Path, files: list[Path]) -> np.ndarray | None:
    parents = [file.parent for file in files]
    if folder in parents:
        return None
    return np.array([_relative(folder, parent) for parent in parents])
