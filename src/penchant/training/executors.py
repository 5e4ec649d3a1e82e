"""Who computes: this process, or the workers of a Ray cluster."""

import abc
import collections
import importlib.metadata
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

from penchant._checks import check_count, check_instance

Task = Any
"""What a call is given: anything that pickles and prints itself for messages."""


class AbstractExecutor(abc.ABC):
    """Calls a function with each of some tasks, here or elsewhere.

    A subclass says where; `sweep`, `compare` and studies know nothing else of it.
    """

    @property
    @abc.abstractmethod
    def threads(self) -> int | None:
        """Cores that a call may use; None for all of this machine."""

    @abc.abstractmethod
    def run(
        self, function: Callable[..., Any], shared: Any, tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Any]]:
        """Yield each task with `function(shared, task)`, as they are done.

        Tasks are taken from the iterable no sooner than there is room for them.

        Args:
            function: What is called, of a module that every worker can import.
            shared: What all calls are given; sent once.
            tasks: What each call is given.

        Raises:
            RuntimeError: If a task failed as often as is tried; others that were done
                have been yielded.
        """


class Here(AbstractExecutor):
    """One task after another, in this process."""

    @property
    def threads(self) -> int | None:
        return None

    def run(
        self, function: Callable[..., Any], shared: Any, tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Any]]:
        for task in tasks:
            yield task, function(shared, task)


class Cells(NamedTuple):
    """Cells of a grid in a row, from `first` up to but without `stop`: a task."""

    first: int
    stop: int

    @property
    def rows(self) -> slice:
        """Where they stand among all cells."""
        return slice(self.first, self.stop)

    def __str__(self) -> str:
        return f"cells {self.first:,} to {self.stop - 1:,}"


def in_boxes(
    executor: AbstractExecutor | None,
    function: Callable[[Any, Cells], Any],
    shared: Any,
    *,
    cells: int,
    size: int,
) -> list[Any]:
    """What a function makes of the cells of a grid, box after box, in their order.

    Boxes depend on the numbers of cells alone, not on who computes: results have the
    same bits in this process and on any number of workers.

    Args:
        executor: Where boxes are computed, such as `Ray()`; None for this process.
        function: What is called with `shared` and a box; of a module that every worker
            can import.
        shared: What all calls are given; sent once.
        cells: How many there are, 0 or more.
        size: Most cells of a box.

    Raises:
        TypeError: If `executor` is none, or a number is no whole one.
        ValueError: If a number is out of bounds.
        RuntimeError: If a box failed as often as the executor tries.
    """
    by = check_executor(executor)
    cells, size = check_count("cells", cells, least=0), check_count("size", size)
    count = -(-cells // size)
    at = [round(i * cells / count) for i in range(count + 1)] if count else [0]
    boxes = [Cells(*ends) for ends in itertools.pairwise(at)]
    done = dict(by.run(function, shared, boxes))
    return [done[box] for box in boxes]


def check_executor(executor: AbstractExecutor | None) -> AbstractExecutor:
    """The executor given; `Here()` for None.

    Raises:
        TypeError: If it is none.
    """
    if executor is None:
        return Here()
    check_instance("executor", executor, AbstractExecutor, "one of penchant.executors")
    return executor


class Ray(AbstractExecutor):
    """The workers of a Ray cluster; an extra, `pip install 'penchant[ray]'`.

    Every worker needs the versions of penchant, JAX and jaxlib that the driver has,
    which each task checks. Numbers agree to the last bit where the workers' processors
    have the instructions of the driver's.

    A task whose worker dies, whose node leaves or that raises is tried again, with a
    warning, up to `retries` times. The connection is made by the first task and kept
    until `close`, or to the end of the `with` statement.

    Args:
        address: Of a cluster, as `ray.init` takes it; None for the one that the
            environment names (`RAY_ADDRESS`), or else one of this machine alone.
        resources: What a task occupies, such as `{"CPU": 2}` or `{"GPU": 1}`; a core.
        retries: How often a task that failed is tried again.
    """

    def __init__(
        self,
        address: str | None = None,
        resources: Mapping[str, float] | None = None,
        retries: int = 3,
    ):
        if not isinstance(address, str | None):
            raise TypeError(f"address must be a string or None; got {address!r}.")
        self.address = address
        self.resources = _resources(resources)
        self.retries = check_count("retries", retries, least=0)
        self._ours = False

    @property
    def threads(self) -> int | None:
        return max(1, int(self.resources.get("CPU", 1)))

    def __enter__(self) -> "Ray":
        self._connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        if self._ours:
            _ray().shutdown()
            self._ours = False

    def _connect(self) -> Any:
        ray = _ray()
        if ray.is_initialized():
            return ray
        try:
            with warnings.catch_warnings():
                # Ray's processes are started by a fork that execs at once
                warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
                ray.init(
                    address=self.address,
                    log_to_driver=False,
                    logging_level="error",
                    **({} if self.address else {"include_dashboard": False}),
                )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = self.address or "a local one"
            raise ConnectionError(
                f"address: no Ray cluster answers at {where}: {error}"
            ) from error
        self._ours = True
        return ray

    def run(
        self, function: Callable[..., Any], shared: Any, tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Any]]:
        ray = self._connect()
        sent = ray.put((function, shared, _versions()))
        rest = {k: v for k, v in self.resources.items() if k not in ("CPU", "GPU")}
        call = ray.remote(_called).options(
            num_cpus=self.resources.get("CPU", 1),
            num_gpus=self.resources.get("GPU", 0),
            resources=rest or None,
            max_retries=0,  # tried again below, where it is said
        )
        again: collections.deque[Task] = collections.deque()
        failures: collections.Counter[str] = collections.Counter()
        under_way: dict[Any, Task] = {}
        coming = iter(tasks)
        try:
            while True:
                while len(under_way) < self._room(ray):
                    task = again.popleft() if again else next(coming, None)
                    if task is None:
                        break
                    under_way[call.remote(sent, task)] = task
                if not under_way:
                    return
                done, _ = ray.wait(list(under_way), num_returns=1)
                task = under_way.pop(done[0])
                try:
                    result = ray.get(done[0])
                except ray.exceptions.RayError as error:
                    failures[str(task)] += 1
                    self._count(task, failures[str(task)], error)
                    again.append(task)
                    continue
                yield task, result
        finally:
            for reference in under_way:
                ray.cancel(reference, force=True)

    def _room(self, ray: Any) -> int:
        """Twice the tasks that the cluster has places for now, so that none waits."""
        have = ray.cluster_resources()
        places = [
            have.get(name, 0.0) / need for name, need in self.resources.items() if need
        ]
        return 2 * max(1, int(min(places, default=1)))

    def _count(self, task: Task, failed: int, error: Exception) -> None:
        why = _first_line(error)
        if failed > self.retries:
            times = "once" if failed == 1 else f"{failed} times"
            raise RuntimeError(
                f"executor: {task} failed {times} on the cluster: {why}"
            ) from error
        warnings.warn(
            f"executor: {task} failed on the cluster and is tried again "
            f"({failed} of {self.retries}): {why}",
            RuntimeWarning,
            stacklevel=4,
        )


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError(
            "executors.Ray needs Ray: pip install 'penchant[ray]'."
        ) from None
    return ray


def _resources(given: Mapping[str, float] | None) -> dict[str, float]:
    if given is None:
        return {"CPU": 1.0}
    if not isinstance(given, Mapping):
        raise TypeError(
            'resources must map names to amounts, e.g. {"CPU": 2}; '
            f"got {type(given).__name__}."
        )
    for name, amount in given.items():
        numeric = isinstance(amount, (int, float)) and not isinstance(amount, bool)
        if not (isinstance(name, str) and numeric and amount >= 0):
            raise ValueError(
                "resources must map names to amounts that are not negative; "
                f"got {name!r}: {amount!r}."
            )
    return {name: float(amount) for name, amount in given.items()}


def _versions() -> dict[str, str]:
    names = ("penchant", "jax", "jaxlib", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


def _called(sent: tuple[Callable[..., Any], Any, dict[str, str]], task: Task) -> Any:
    """What a worker does with a task."""
    function, shared, wanted = sent
    have = _versions()
    for name, version in wanted.items():
        if have[name] != version:
            raise RuntimeError(
                f"the worker has {name} {have[name]}, the driver {version}"
            )
    return function(shared, task)


def _first_line(error: Exception) -> str:
    """What a worker's error says, without its traceback."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return f"{type(cause).__name__}: {cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
