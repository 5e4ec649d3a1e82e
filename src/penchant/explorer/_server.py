"""The door to the server, which needs Panel only once it is opened."""

from collections.abc import Sequence
from typing import Any

from penchant._checks import check_count, check_instance
from penchant.explorer._explore import MISSING
from penchant.explorer._state import LOOPBACK, State
from penchant.problems import LinearClassification


def serve(
    state: State | None = None,
    given: LinearClassification | None = None,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    origins: Sequence[str] = (),
    show: bool = False,
    wait: bool = True,
) -> Any:
    """Serve the explorer until Ctrl-C, or, with `wait` off, from another thread.

    Pages of other sites can't speak to it: their origin is refused. At most 16 pages
    are open at once; each has one computation under way and one that waits, and all
    take turns on one thread.

    Args:
        state: What a page without a query shows.
        given: The classifier that `data="given"` stands for.
        host: The address to listen on; the loopback is seen by this machine alone.
        port: The port; 0 for any that is free.
        origins: Further `host:port` from which pages may speak to it, such as that of a
            proxy.
        show: Open a browser.
        wait: Do not return.

    Returns:
        With `wait` off a thread, with `stop()`, and `address` of the page.

    Raises:
        ImportError: If Panel is not installed: it comes with `penchant[explore]`.
        TypeError: If an argument is of the wrong kind.
        ValueError: If the port is out of range.
        OSError: If the port is taken.
    """
    check_instance("state", State() if state is None else state, State, "a State")
    if given is not None:
        check_instance("given", given, LinearClassification, "a LinearClassification")
    check_instance("host", host, str, "an address such as 127.0.0.1")
    if isinstance(origins, str) or not all(isinstance(o, str) for o in origins):
        raise TypeError(f"origins must be a list of host:port; got {origins!r:.100}.")
    port = check_count("port", port, least=0)
    if port > 65535:
        raise ValueError(f"port must be at most 65535; got {port}.")
    try:
        from penchant.explorer._serve import run
    except ImportError as error:
        raise ImportError(MISSING) from error
    return run(
        state or State(),
        given,
        host=host,
        port=port,
        origins=tuple(origins),
        show=show,
        wait=wait,
    )
