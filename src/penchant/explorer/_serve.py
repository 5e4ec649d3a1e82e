"""The server: on the loopback unless told otherwise, for pages of its own alone."""

import socket
from typing import Any
from urllib.parse import parse_qsl, urlencode

import panel
from bokeh.document import Document

from penchant.explorer._page import STYLE, Page
from penchant.explorer._presets import PRESETS
from penchant.explorer._state import LOOPBACK, State
from penchant.problems import LinearClassification

PAGES = 16
"""Pages that may be open at once."""

MESSAGE = 1 << 20
"""Bytes of a message that is read."""

UNUSED = 15_000
"""Milliseconds after which a page that nobody looks at is forgotten."""

TITLE = "penchant explore"


def run(
    state: State,
    given: LinearClassification | None,
    *,
    host: str,
    port: int,
    origins: tuple[str, ...],
    show: bool,
    wait: bool,
) -> Any:
    """What `serve` does, its arguments checked."""
    port = _free(host, port)
    names = {host, "localhost"} if host in (LOOPBACK, "localhost") else {host}
    allowed = [*(f"{name}:{port}" for name in sorted(names)), *origins]
    address = f"http://{host}:{port}/"
    if wait:
        print(f"{address}\nCtrl-C ends it.", flush=True)  # noqa: T201
    running: Any = panel.serve(
        {"/": Visits(state, given).page},
        port=port,
        address=host,
        websocket_origin=allowed,
        title=TITLE,
        show=show,
        threaded=not wait,
        verbose=False,
        websocket_max_message_size=MESSAGE,
        unused_session_lifetime_milliseconds=UNUSED,
        check_unused_sessions_milliseconds=UNUSED // 3,
    )
    if not wait:
        running.address = address
    return running


class Visits:
    """Makes a page for each visit, and refuses one too many."""

    def __init__(self, state: State, given: LinearClassification | None):
        self.state, self.given = state, given
        self.open: set[int] = set()

    def page(self) -> Any:
        """What this visit is shown."""
        document = panel.state.curdoc
        assert isinstance(document, Document)
        if len(self.open) >= PAGES:
            return _sentence(
                f"{PAGES} pages are open, which is all that this server serves at "
                "once. Close one, and load this again after half a minute."
            )
        key = id(document)
        self.open.add(key)
        panel.state.on_session_destroyed(lambda _: self.open.discard(key))
        state, preset, note = read_visit(self._query(), self.state)
        page = Page(state, self.given, note)
        if preset:
            page.presets.value = preset
        return page.root

    @staticmethod
    def _query() -> str:
        given = panel.state.session_args
        return urlencode([
            (name, value.decode("utf-8", "replace"))
            for name, values in given.items()
            for value in values
        ])


def read_visit(query: str, plain: State) -> tuple[State, str, str]:
    """The state, the name of a preset, and what is wrong with an address."""
    pairs = dict(parse_qsl(query[: 1 << 14], keep_blank_values=True))
    name = pairs.get("preset", "")
    try:
        if name in PRESETS and len(pairs) == 1:
            return PRESETS[name].state, name, ""
        if "preset" in pairs:
            raise ValueError(
                f"preset must stand alone, and be one of {', '.join(PRESETS)}; got "
                f"{name[:40]!r}."
            )
        return (State.from_query(query) if query else plain), "", ""
    except ValueError as error:
        return plain, "", f"This address says nothing that can be shown. {error}"


def _sentence(text: str) -> Any:
    return panel.pane.HTML(
        f'<p class="alert" role="alert">{text}</p>', stylesheets=[STYLE]
    )


def _free(host: str, port: int) -> int:
    """The port, or a free one; OSError, in a sentence, where it is taken."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise OSError(
                error.errno, f"can't listen on {host}:{port}: {error.strerror}"
            ) from None
        return int(trial.getsockname()[1])
