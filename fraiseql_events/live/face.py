"""A dashboard's place in a notebook: a picture with buttons while it lives, the picture alone afterwards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

import ipywidgets as widgets
from ipykernel.comm import Comm
from ipykernel.jsonutil import json_clean
from ipykernel.kernelbase import Kernel
from IPython.display import display

#: A view that goes comes again at once where a cell is moved; so long it is waited for.
GONE_SECONDS: Final = 5.0
_VIEW: Final = "application/vnd.jupyter.widget-view+json"
#: Of the messages between a widget and its page.
_PROTOCOL: Final = "2.1.0"


class Shown(Protocol):
    """What a face shows."""

    def pause(self) -> None:
        """Holds it."""

    def resume(self) -> None:
        """Goes on."""

    def stop(self) -> None:
        """Ends it."""


class Face:
    """One output of a cell.

    Args:
        shown: what its buttons act upon.
        gone: called when nobody sees it any more.
    """

    def __init__(self, shown: Shown, gone: Callable[[Face], None]) -> None:
        self._gone = gone
        self._picture = widgets.HTML()
        self._pause = widgets.Button(description="Pause", icon="pause", tooltip="hold the picture; nothing is lost")
        self._stop = widgets.Button(description="Stop", icon="stop", tooltip="end the stream; the picture stays")
        self._pause.on_click(lambda _: shown.resume() if self._pause.description == "Resume" else shown.pause())
        self._stop.on_click(lambda _: shown.stop())
        self._box = _opened([self._picture, widgets.HBox([self._pause, self._stop])])
        self._timer: threading.Timer | None = None
        self._box.observe(self._count_views, "_view_count")
        self._display: Any = None

    def show(self, picture: str, state: str, text: str) -> None:
        """Shows itself below the cell; where there are no widgets, such as on a page, the picture."""
        self.update(picture, state)
        view = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        self._display = display({_VIEW: view, **_still(picture, text)}, raw=True, display_id=True)

    def update(self, picture: str, state: str) -> None:
        """Shows another picture; from any thread."""
        self._picture.value = picture
        paused = state == "paused"
        if (self._pause.description == "Resume") != paused:
            self._pause.description = "Resume" if paused else "Pause"
            self._pause.icon = "play" if paused else "pause"

    def end(self, picture: str, text: str) -> None:
        """Puts a picture in its own place.

        Where the page has been loaded again it does not know the place: there the widget stays, as a picture too.
        """
        self._forget_timer()
        self._box.unobserve_all()
        self._picture.value = picture
        _, buttons = self._box.children
        self._box.children = [self._picture]
        for each in (self._pause, self._stop, buttons):
            each.close()
        if self._display is not None:
            self._display.update(_still(picture, text), raw=True)

    def _count_views(self, change: dict[str, Any]) -> None:
        self._forget_timer()
        if change["new"] <= 0:  # below where the page has lost the kernel meanwhile, and asked anew
            self._timer = threading.Timer(GONE_SECONDS, self._gone, [self])
            self._timer.daemon = True
            self._timer.start()

    def _forget_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


class _Box(widgets.VBox):  # type: ignore[misc]
    """A box whose views are counted by the page, from 0 on: when the last one is gone, nobody looks any more."""

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> dict[str, Any]:
        """A page that asks for all is new: what an earlier one has counted went with it."""
        state: dict[str, Any] = super().get_state(key, drop_defaults)
        return state | {"_view_count": 0} if key is None else state


class _OfNoCell(Comm):
    """A channel that is opened, but by no cell.

    What a cell opens, nbclient keeps in the notebook that it runs. Then nbconvert shows a widget without a kernel, with
    scripts of others, and not the picture.
    """

    def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, *more: Any, **keys: Any) -> None:
        """Sends a message to the page."""
        if msg_type != "comm_open":
            super().publish_msg(msg_type, data, metadata, *more, **keys)
            return
        kernel: Any = Kernel.instance()
        content = json_clean({"data": data, "comm_id": self.comm_id, **keys})
        kernel.session.send(kernel.iopub_socket, msg_type, content, metadata=metadata, parent={}, ident=self.topic)


def _opened(children: list[widgets.Widget]) -> _Box:
    channel = _OfNoCell(target_name="jupyter.widget", primary=False)
    box = _Box(children, comm=channel, _view_count=0)
    channel.open({"state": box.get_state(), "buffer_paths": []}, {"version": _PROTOCOL})
    return box


def _still(picture: str, text: str) -> dict[str, str]:
    return {"image/svg+xml": picture, "text/plain": text}
