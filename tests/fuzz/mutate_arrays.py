"""Files of arrays that are well formed but altered: archives of numpy, safetensors, HDF5, Parquet.

What random bytes rarely reach behind checksums and headers: other shapes and types, missing and further
names, values that are no numbers, and links.
"""

from __future__ import annotations

import io
import zipfile
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutate_bytes import mutate_bytes
from tests.fuzz.mutate_json import mutate_json


def mutate_npz(content: bytes, draw: Random) -> bytes:
    """An archive of arrays, one or two of which are not as they were."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for _ in range(draw.choice((1, 1, 2))):
        name = draw.choice(sorted(members))
        kind = draw.randrange(6)
        if kind == 0:
            del members[name]
        elif kind == 1:
            members[draw.choice((f"x{name}", "x.npy", "../x.npy", "x"))] = members.pop(name)
        elif kind == 2:
            members[name] = members[draw.choice(sorted(members))]
        elif kind == 3:
            members[name] = mutate_bytes(members[name], draw)
        else:
            members[name] = _as_npy(_alter(_from_npy(members[name]), draw))
        if not members:
            break
    written = io.BytesIO()
    method = draw.choice((zipfile.ZIP_STORED,) * 7 + (zipfile.ZIP_DEFLATED,))
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return written.getvalue()


def _from_npy(data: bytes) -> Any:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except Exception:  # changed before
        return np.zeros(3)


def _as_npy(array: Any) -> bytes:
    written = io.BytesIO()
    np.save(written, array, allow_pickle=False)
    return written.getvalue()


def _alter(array: Any, draw: Random) -> Any:
    """Another array in its place."""
    if array.dtype == np.uint8 and draw.random() < 0.5:  # the JSON of a checkpoint
        return np.frombuffer(mutate_json(array.tobytes(), draw), np.uint8)
    kind = draw.randrange(8)
    if kind == 0 and array.dtype.kind == "f" and array.size:
        changed = array.copy()
        changed.flat[draw.randrange(array.size)] = draw.choice((np.nan, np.inf, -np.inf))
        return changed
    if kind == 1:
        return array.astype(draw.choice(("f2", "f8", "i1", "u8", "?", "c8", "S3", "U2", ">f4")))
    if kind == 2:
        return array.reshape(-1)[: draw.randint(0, array.size)]
    if kind == 3:
        return array[None]
    if kind == 4:
        return array.T
    if kind == 5:
        return np.zeros(draw.choice(((), (0,), (1, 0), (3, 5, 7))), array.dtype)
    if kind == 6:
        return np.concatenate([array.reshape(-1)] * 2)
    return np.frombuffer(draw.randbytes(array.nbytes), np.uint8)[: array.nbytes]


def mutate_safetensors(content: bytes, draw: Random) -> bytes:
    """The same with another header: names, types, shapes, offsets."""
    size = int.from_bytes(content[:8], "little")
    header = mutate_json(content[8 : 8 + size], draw)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def mutate_hdf5(content: bytes, draw: Random) -> bytes:
    """The same with one or two of its items missing, replaced or linked."""
    import h5py

    held = io.BytesIO(content)
    with h5py.File(held, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(draw.choice((1, 1, 2))):
            name = draw.choice(names)
            item = file.get(name)
            if item is None:
                continue
            kind = draw.randrange(8)
            if kind == 0 and isinstance(item, h5py.Group):
                item["around"] = h5py.SoftLink(f"/{draw.choice(names)}")
            elif kind == 1 and isinstance(item, h5py.Group):
                item["cycle"] = file[draw.choice(("/", f"/{name}"))]
            elif kind == 2 and isinstance(item, h5py.Group):
                item.create_group("/".join("g" * draw.choice((1, 40, 3000))))
            elif isinstance(item, h5py.Dataset):
                array = item[()] if kind else None
                del file[name]
                if kind in (1, 2):
                    file[name] = h5py.ExternalLink("other.h5", "/x")
                elif kind == 3:
                    shape, dtype = draw.choice(((1 << 40,), (1 << 20, 1 << 20), (7, 8))), "f4"
                    file.create_dataset(name, shape, dtype, chunks=True)
                elif array is not None:
                    file[name] = _alter(np.asarray(array), draw).astype("f4", casting="unsafe")
            else:
                del file[name]
    return held.getvalue()


def mutate_parquet(content: bytes, draw: Random) -> bytes:
    """A table whose columns are of other types, names or sizes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    at = draw.randrange(table.num_columns)
    name, count = table.column_names[at], table.num_rows
    columns: list[Any] = [
        [draw.choice((None, "a", "", "\0", "a" * 3000)) for _ in range(count)],
        pa.array([draw.choice((b"a", b"\xff", None)) for _ in range(count)], pa.binary()),
        [draw.choice((None, 1, 1 << 62)) for _ in range(count)],
        [draw.choice((None, 0.5, float("nan"))) for _ in range(count)],
        pa.array([[1, None]] * count),
        pa.array([{"a": 1}] * count),
        pa.nulls(count),
        table.column(at).combine_chunks().dictionary_encode(),
        pa.array([b"\xff\xfe" if i % 3 else b"b" for i in range(count)], pa.binary()).cast(
            pa.string(), safe=False
        ),
        pa.array([1 << 60] * count, pa.timestamp("us")),
        pa.array([1 << 62] * count, pa.timestamp("s")),
    ]
    new = draw.choice((name, name, name, "text", "label", "", "\x1b[2J", "x.y"))
    table = table.set_column(at, new, draw.choice(columns))
    if draw.random() < 0.2:
        table = table.slice(0, draw.randint(0, count))
    written = io.BytesIO()
    pq.write_table(table, written, row_group_size=draw.choice((1, 7, 1000)))
    return written.getvalue()
