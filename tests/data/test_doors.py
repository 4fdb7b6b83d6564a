"""Properties of the doors: what is written comes back; whatever bytes come, the answer is data or a `DataError`."""

import io
import zipfile
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pyarrow import feather, parquet

from reparax.data import Dataset, grid, read, write
from reparax.errors import DataError

reals = st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)
tables = st.one_of(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=reals),
    hnp.arrays(np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)),
)
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
@few
@given(array=tables)
def test_what_is_written_is_read(tmp_path, suffix, array):
    write(tmp_path / f"a.{suffix}", array)
    read_back, direct = read(tmp_path / f"a.{suffix}"), read(array)
    np.testing.assert_array_equal(read_back.values, direct.values)
    assert read_back.values.dtype == direct.values.dtype


names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters=";"), min_size=1, max_size=9
)


def is_plain(name):
    """Whether a name is neither a number, nor a word for a missing value, nor changed by trimming."""
    try:
        float(name.replace(",", "."))
    except ValueError:
        return name.strip() == name and name.lower() not in {"na", "n/a", "#n/a", "null", "none", "-nan", "?"}
    return False


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@few
@given(names=st.lists(names.filter(is_plain), min_size=1, max_size=4, unique=True))
def test_names_come_back(tmp_path, suffix, names):
    values = np.arange(2.0 * len(names)).reshape(2, -1) + 0.5
    write(tmp_path / f"a.{suffix}", values, names=names)
    assert read(tmp_path / f"a.{suffix}").schema.names == tuple(names)


def samples():
    """A small valid file of each kind, to be damaged."""
    npy, npz, png, table, feathered = (io.BytesIO() for _ in range(5))
    np.save(npy, np.eye(3))
    np.savez(npz, X=np.eye(3), y=np.arange(3))
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(png, format="PNG")
    parquet.write_table(pa.table({"a": [1.5, 2], "b": [3, 4]}), table)
    feather.write_feather(pa.table({"a": ["x", None], "b": [3, 4]}), feathered)
    return {
        "npy": npy.getvalue(),
        "npz": npz.getvalue(),
        "png": png.getvalue(),
        "parquet": table.getvalue(),
        "feather": feathered.getvalue(),
        "idx": bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2, 1, 2, 3, 4]),
        "csv": b'a;b\n1;2,5\n"3";4\n',
    }


SAMPLES = samples()


def read_or_refuse(folder, suffix, content):
    folder.mkdir(exist_ok=True)
    path = folder / f"a.{suffix}"
    path.write_bytes(content)
    dataset = None
    with suppress(DataError):
        dataset = read(folder if suffix == "png" else path)
    if dataset is not None:
        assert isinstance(dataset, Dataset)
        assert not np.isinf(dataset.values.astype(float)).any()
        assert dataset.schema.value_kind == "mixed" or np.isfinite(dataset.values).all()
        assert dataset.schema.event_shape == dataset.values.shape[1:]


@pytest.mark.parametrize("suffix", [*SAMPLES, "dat", "txt", "csv.gz", "jpg"])
@many
@given(content=st.binary(max_size=200))
def test_random_bytes(tmp_path, suffix, content):
    read_or_refuse(tmp_path / "in", suffix, content)


@pytest.mark.parametrize("suffix", SAMPLES)
@many
@given(data=st.data())
def test_damaged_files(tmp_path, suffix, data):
    content = bytearray(SAMPLES[suffix])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    read_or_refuse(tmp_path / "in", suffix, bytes(content[:end]))


@many
@given(member=st.binary(max_size=100), name=st.sampled_from(["X.npy", "y.npy", "X", ".npy"]))
def test_archives_of_random_bytes(tmp_path, member, name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, member)
        archive.writestr("data.npy", SAMPLES["npy"])
    read_or_refuse(tmp_path / "in", "npz", stream.getvalue())


@many
@given(text=st.text(st.sampled_from('0123456789.,;\t\n\r"eE+-naNx \ufeff'), max_size=60))
def test_text_of_all_sorts(tmp_path, text):
    read_or_refuse(tmp_path / "in", "csv", text.encode())


@many
@given(text=st.text(st.sampled_from("012345?.,;|\t\n\"aTe-/: N\u00e9'$"), max_size=80))
def test_text_of_mixed_sorts(tmp_path, text):
    read_or_refuse(tmp_path / "in", "csv", text.encode())


@many
@given(content=st.one_of(st.binary(max_size=60), st.text('{}[]":,ancolumskidexud01', max_size=60).map(str.encode)))
@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_schema_files_of_all_sorts(tmp_path, suffix, content):
    (tmp_path / f"schema.{suffix}").write_bytes(content)
    with suppress(DataError):
        read(np.eye(3), schema=tmp_path / f"schema.{suffix}")


@few
@given(
    images=hnp.arrays(
        st.sampled_from([np.uint8, np.float32]),
        st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])),
        elements=st.integers(0, 255),
    )
)
def test_every_image_is_in_the_grid(images):
    picture = grid(images)
    assert picture.dtype == np.uint8
    assert picture.ndim == (2 if images.shape[-1] == 1 else 3)
    assert set(np.unique(images.astype(np.uint8))) <= set(np.unique(picture))


@pytest.mark.parametrize("dtype", ["<f2", ">f2", ">f4", ">f8", ">i2", ">u4"])
def test_byte_orders_do_not_matter(dtype):
    values = [[0, 1.0], [3, 4.0]]
    np.testing.assert_array_equal(read(np.array(values, dtype)).values, values)


@few
@given(array=hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=5, max_side=4)))
def test_arrays_of_every_dtype(array):
    dataset = None
    with suppress(DataError):
        dataset = read(array)
    if dataset is not None:
        np.testing.assert_allclose(
            np.sort(dataset.values.ravel().astype(float)), np.sort(array.ravel().astype(float)), rtol=1e-6, atol=1e-30
        )
