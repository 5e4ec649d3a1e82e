"""A sweep's records: in memory, or in a Zarr store that survives a crash.

Order of writing, from which it follows that nothing is ever computed twice once it is
in the store: the checkpoint (state, and the records not yet stored) replaces the last
one atomically; then the records are stored. After a crash between the two, the
checkpoint's records are stored again, over themselves.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penchant.training import _checkpoint as checkpoints
from penchant.training._grid import Axis

if TYPE_CHECKING:
    import xarray

Box = tuple[slice, ...]


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
    """Records in a Zarr store `NAME`, with `NAME.checkpoint.npz` beside it."""

    def __init__(
        self,
        path: Path,
        axes: Sequence[Axis],
        steps: np.ndarray,
        layout: Layout,
        box: tuple[int, ...],
        attrs: dict[str, Any],
    ):
        self.path, self.axes, self.steps, self.layout = path, axes, steps, layout
        self.checkpoint = path.with_name(path.name + ".checkpoint.npz")
        if not self.checkpoint.exists():
            self._create(box, attrs)

    def _create(self, box: tuple[int, ...], attrs: dict[str, Any]) -> None:
        import zarr

        if self.path.exists() and any(self.path.iterdir()):
            raise ValueError(
                f"save: {self.path} exists and holds no unfinished sweep. Give another "
                "path, or delete it."
            )
        names = [axis.name for axis in self.axes]
        group = zarr.create_group(self.path, attributes=attrs)
        shape = tuple(len(axis.values) for axis in self.axes)
        r = len(self.steps)
        for name, (tail, dims) in self.layout.items():
            group.create_array(
                name,
                shape=(*shape, r, *tail),
                chunks=(*box, min(r, 32), *tail),
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

    def write(self, box: Box, first: int, records: Mapping[str, np.ndarray]) -> None:
        """Store records `first, first + 1, …` of the lanes of a box."""
        import zarr

        group = zarr.open_group(self.path, mode="r+")
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
        return xarray.open_zarr(self.path, chunks=None, consolidated=False)
