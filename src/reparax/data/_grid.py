"""A picture of many images."""

import math

import numpy as np

from reparax.errors import DataError

SMALLEST_TILE = 64  # pixels; tiny images are enlarged to about this
LARGEST_PICTURE = 2000  # pixels; enlarging stops here
SEPARATOR = 128


def grid(images: np.ndarray, *, low: float = 0, high: float = 255, columns: int | None = None) -> np.ndarray:
    """Lays images out in rows, with lines of one gray pixel between them; tiny images are enlarged.

    Args:
        images: Shape ``(n, height, width)`` or ``(n, height, width, channels)`` with 1, 3 or 4 channels.
        low: The value shown as black; values below are shown so too.
        high: The value shown as white; values above are shown so too.
        columns: How many images to a row; by default about as many as rows.

    Returns:
        A uint8 array of shape ``(height, width)`` for one channel, else ``(height, width, channels)``.

    Raises:
        DataError: Not images, NaN or infinity among the values, or a range that is none.
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
            cure="check the model that made the images",
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
