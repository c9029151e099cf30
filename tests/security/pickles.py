"""Pickles that leave a mark when they are loaded, in every form in which files of models and data have them."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.mkdir, (self.mark,)


def plain(mark: Path) -> bytes:
    """Return a pickle, as `pickle.dump`, `joblib.dump` and scikit-learn write it."""
    return pickle.dumps(Bomb(mark))


def of_torch(mark: Path) -> bytes:
    """Return what `torch.save` writes: a zip with a pickle in it."""
    buffer = io.BytesIO()
    torch.save({"weight": Bomb(mark)}, buffer)
    assert zipfile.is_zipfile(buffer)
    return buffer.getvalue()


def of_torch_before(mark: Path) -> bytes:
    """Return what `torch.save` wrote in former years."""
    buffer = io.BytesIO()
    torch.save({"weight": Bomb(mark)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def of_numpy(mark: Path) -> bytes:
    """Return an array of objects, which numpy pickles."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def in_parquet(mark: Path) -> bytes:
    """Return a Parquet table whose column is of a type of Python's, which Arrow once unpickled; and pandas' notes."""
    extension = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": plain(mark)}
    texts, labels = pa.array(["free prize", "see you"]), pa.array(["spam", "ham"])
    fields = [pa.field("text", pa.string(), metadata=extension), pa.field("label", pa.string())]
    buffer = io.BytesIO()
    pq.write_table(pa.table([texts, labels], pa.schema(fields, metadata={"pandas": plain(mark)})), buffer)
    return buffer.getvalue()


FORMS = {
    "pickle": plain, "torch": of_torch, "torch of former years": of_torch_before, "numpy": of_numpy,
    "parquet": in_parquet,
}  # fmt: skip
