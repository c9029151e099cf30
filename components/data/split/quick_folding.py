"""Folding (`split.folding`) of a column of texts at once: ASCII as one run of bytes, the others as ever.

In ASCII folding is done byte by byte: capitals become small, white space and digits go. Where the texts then begin
follows from how many bytes stayed before each.
"""

from typing import TYPE_CHECKING

import numpy as np

from components.data.split.folding import fold

if TYPE_CHECKING:
    import pyarrow as pa

SMALL = bytes(range(256)).lower()
DROPPED = bytes(byte for byte in range(128) if not fold(chr(byte)))
STAYS = np.isin(np.arange(256), list(DROPPED), invert=True)


def fold_all(texts: "pa.StringArray") -> np.ndarray:
    """Return the folded form of every text (an object array); a null counts as empty."""
    import pyarrow.compute as pc

    texts = texts.fill_null("")
    is_ascii = pc.string_is_ascii(texts)
    mask = is_ascii.to_numpy(zero_copy_only=False)
    folded = np.empty(len(texts), object)
    folded[mask] = _fold_ascii(texts.filter(is_ascii)).to_numpy(zero_copy_only=False)
    folded[~mask] = [fold(text) for text in texts.filter(pc.invert(is_ascii)).to_pylist()]
    return folded


def _fold_ascii(texts: "pa.StringArray") -> "pa.StringArray":
    import pyarrow as pa

    if not len(texts):
        return texts
    offsets = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4)
    data = memoryview(texts.buffers()[2] or b"")[offsets[0] : offsets[-1]]
    stayed = np.zeros(len(data) + 1, np.int32)
    np.cumsum(STAYS[np.frombuffer(data, np.uint8)], out=stayed[1:])
    starts = stayed[offsets - offsets[0]]
    folded = bytes(data).translate(SMALL, DROPPED)
    return pa.StringArray.from_buffers(len(texts), pa.py_buffer(starts), pa.py_buffer(folded))
