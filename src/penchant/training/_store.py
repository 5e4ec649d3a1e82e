"""A sweep's records: in memory, or in a Zarr store that survives a crash.

Order of writing, from which it follows that nothing is ever computed twice once it is
in the store: the checkpoint (state, and the records not yet stored) replaces the last
one atomically; then the records are stored. After a crash between the two, the
checkpoint's records are stored again, over themselves.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant._places import Place
from penchant.training import _checkpoint as checkpoints
from penchant.training._grid import Axis

if TYPE_CHECKING:
    import xarray

Box = tuple[slice, ...]


_MARK = "sweep"
"""The attribute that says of which sweep a store is."""

_CHUNK = 32
"""Records in a chunk."""

_DAMAGE = (
    OSError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What zarr raises on damaged stores."""


def chained(digest: str, records: np.ndarray, along: int) -> str:
    """A digest of records, from that of those before; however they come in parts.

    Args:
        digest: Of the records before; empty if there are none.
        records: Records that follow one another on axis `along`.
        along: That axis.
    """
    records = np.moveaxis(records, along, 0)
    records = np.where(np.isnan(records), np.nan, records)  # one NaN is as another
    for record in records:
        data = np.ascontiguousarray(record).tobytes()
        digest = hashlib.sha256(digest.encode() + data).hexdigest()
    return digest


class MemoryStore:
    """Records kept in arrays of the grid's shape."""

    def __init__(self, axes: Sequence[Axis], steps: np.ndarray, layout: "Layout"):
        self.axes, self.steps, self.layout = axes, steps, layout
        shape = tuple(len(axis.values) for axis in axes)
        self.arrays = {
            name: np.full((*shape, len(steps), *tail), np.nan)
            for name, (tail, _) in layout.items()
        }

    def write(self, box: Box, first: int, records: Mapping[str, np.ndarray]) -> None:
        """Store records `first, first + 1, …` of the lanes of a box."""
        for name, values in records.items():
            count = values.shape[len(self.axes)]
            self.arrays[name][(*box, slice(first, first + count))] = values

    def dataset(self, attrs: dict[str, Any]) -> "xarray.Dataset":
        """All records as a labelled data set."""
        import xarray

        names = [axis.name for axis in self.axes]
        return xarray.Dataset(
            {
                name: ((*names, "step", *dims), self.arrays[name])
                for name, (_, dims) in self.layout.items()
            },
            coords={
                **{axis.name: axis.coordinate() for axis in self.axes},
                "step": self.steps,
            },
            attrs=attrs,
        )


Layout = dict[str, tuple[tuple[int, ...], tuple[str, ...]]]
"""For each variable the shape and the names of its axes after `step`."""


class ZarrStore:
    """Records in a Zarr store `NAME`, with `NAME.checkpoint.npz` beside it.

    Args:
        place: Where it lies.
        axes: Those of the grid.
        steps: Numbers of the steps recorded.
        layout: Shapes and axes of the variables.
        box: Lanes that are written at once, along each axis.
        attrs: What is said of all of it.
        whole: Records of a box come all at once, and lie in one file a variable.
    """

    def __init__(
        self,
        place: Place,
        axes: Sequence[Axis],
        steps: np.ndarray,
        layout: Layout,
        box: tuple[int, ...],
        attrs: dict[str, Any],
        whole: bool = False,
    ):
        self.place, self.axes, self.steps, self.layout = place, axes, steps, layout
        self.box, self.attrs, self.whole = box, attrs, whole
        self.checkpoint = place.beside(".checkpoint.npz")

    def create(self, identity: dict[str, str]) -> None:
        """Make the arrays, without a record in them.

        Raises:
            ValueError: If there is something that this sweep did not make.
        """
        import zarr

        mark = hashlib.sha256(repr(sorted(identity.items())).encode()).hexdigest()
        ours = self._is_ours(mark)
        if not ours and self.checkpoint.exists():  # damaged, or of version 0.1.0
            ours = self.place.is_folder() and not self._strange()
        if not ours:
            raise ValueError(
                f"save: {self.place} exists and holds no unfinished sweep. Give "
                "another path, or delete it."
            )
        names = [axis.name for axis in self.axes]
        group = zarr.create_group(
            self.place.zarr, attributes=self.attrs | {_MARK: mark}, overwrite=True
        )
        box = self.box
        shape = tuple(len(axis.values) for axis in self.axes)
        r = len(self.steps)
        part = min(r, _CHUNK)
        for name, (tail, dims) in self.layout.items():
            group.create_array(
                name,
                shape=(*shape, r, *tail),
                chunks=(*box, part, *tail),
                shards=(*box, -(-r // part) * part, *tail) if self.whole else None,
                dtype="float64",
                fill_value=np.nan,
                dimension_names=(*names, "step", *dims),
            )
        for name, values in (
            *((axis.name, axis.coordinate()) for axis in self.axes),
            ("step", self.steps),
        ):
            array = group.create_array(
                name,
                shape=values.shape,
                dtype=values.dtype,
                chunks=values.shape,
                dimension_names=(name,),
            )
            array[:] = values

    def _is_ours(self, mark: str) -> bool:
        """Whether what is there was made by a sweep like this one, or is nothing."""
        import zarr

        if not self.place.exists():
            return True
        if not self.place.is_folder():
            return False
        # a process may have been killed while zarr wrote its first file
        if all(name.endswith(".partial") for name in self.place.entries()):
            return True
        try:
            return zarr.open_group(self.place.zarr, mode="r").attrs.get(_MARK) == mark
        except _DAMAGE:
            return False

    def _strange(self) -> list[str]:
        """What lies in the store's folder and is none of its files."""
        names = {axis.name for axis in self.axes} | {*self.layout, "step", "zarr.json"}
        return [name for name in self.place.entries() if name not in names]

    def is_whole(self, box: Box, count: int, digests: Mapping[str, str]) -> bool:
        """Whether the first `count` records of a box are those that were written."""
        import zarr

        try:
            group = zarr.open_group(self.place.zarr, mode="r")
            for name, (tail, _) in self.layout.items():
                array: Any = group[name]
                shape = tuple(len(axis.values) for axis in self.axes)
                if array.shape != (*shape, len(self.steps), *tail):
                    return False
                digest = ""
                for first in range(0, count, _CHUNK):
                    part = array[(*box, slice(first, min(count, first + _CHUNK)))]
                    digest = chained(digest, np.asarray(part), len(self.axes))
                if digest != digests.get(name, ""):
                    return False
            for axis in self.axes:
                seen = np.asarray(group[axis.name][:])  # type: ignore[index]
                if not np.array_equal(seen, axis.coordinate()):
                    return False
            return np.array_equal(np.asarray(group["step"][:]), self.steps)  # type: ignore[index]
        except _DAMAGE:
            return False

    def write(self, box: Box, first: int, records: Mapping[str, np.ndarray]) -> None:
        """Store records `first, first + 1, …` of the lanes of a box."""
        import zarr

        group = zarr.open_group(self.place.zarr, mode="r+")
        for name, values in records.items():
            count = values.shape[len(self.axes)]
            if count:
                group[name][(*box, slice(first, first + count))] = values  # type: ignore[index]

    def save(self, meta: dict[str, Any], arrays: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        checkpoints.save(self.checkpoint, meta, arrays)

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The checkpoint, if there is one."""
        return checkpoints.load(self.checkpoint)

    def dataset(self, attrs: dict[str, Any]) -> "xarray.Dataset":
        """The store, opened; values are read as they are asked for."""
        import xarray

        del attrs  # they are in the store
        stored = xarray.open_zarr(self.place.zarr, chunks=None, consolidated=False)
        stored.attrs.pop(_MARK, None)
        return stored
