"""Arrays from IDX files, the format of MNIST."""

from pathlib import Path

import numpy as np

from reparax.data._files import content_of, damaged, read_bytes, wrong_content

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> np.ndarray:
    """The array of an IDX file, gzipped or not.

    The format: two zero bytes, a code for the dtype, the number of axes, the length of each axis as a big-endian
    32-bit number, then the values, big-endian, last axis fastest (LeCun, Cortes and Burges, "The MNIST database").

    Raises:
        DataError: Not such a file, or its size is not the one its header tells.
    """
    content = read_bytes(path)
    name, words = content_of(content)
    if name != "idx" or content[2] not in _DTYPES:
        raise wrong_content(path, "an IDX file", words)
    dtype, num_axes = np.dtype(_DTYPES[content[2]]), content[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise damaged(path, "a whole IDX file", f"{len(content)} bytes, of which the header takes {start}")
    shape = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(num_axes))
    size = dtype.itemsize
    for length in shape:
        size *= length
    if len(content) - start != size or num_axes > 32:
        raise damaged(path, "a whole IDX file", f"{len(content) - start} bytes for shape {shape}, which takes {size}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
