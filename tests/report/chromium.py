"""A headless Chromium to look at pages with; nothing but the standard library."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time
from pathlib import Path
from typing import Any

PATIENCE = 60.0  # Seconds without a word from the browser after which it is given up.


class Browser:
    """A headless Chromium, spoken to over two pipes in its DevTools protocol."""

    def __init__(self, program: str, profile: Path) -> None:
        inbox, theirs_out = os.pipe()
        theirs_in, outbox = os.pipe()
        # The browser reads from descriptor 3 and writes to 4: copies above them cannot collide,
        # and what may stand on them here (the null device) is passed on first.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
        os.close(theirs_in)
        os.close(theirs_out)
        quiet = os.open(os.devnull, os.O_RDWR)
        command = [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        actions = [
            (os.POSIX_SPAWN_DUP2, end, place)
            for end, place in ((quiet, 1), (quiet, 2), (ends[0], 3), (ends[1], 4))
        ]
        self._process = os.posix_spawn(program, command, os.environ, file_actions=actions)
        for end in (*ends, quiet):
            os.close(end)
        self._inbox, self._outbox = os.fdopen(inbox, "rb", buffering=0), outbox
        self._pending = b""
        self._calls = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Ask for `method` and wait for its answer; events that come meanwhile are kept."""
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._outbox, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._calls:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._inbox], [], [], PATIENCE)
            assert ready, f"the browser has said nothing for {PATIENCE:.0f} s"
            read = self._inbox.read(1 << 16)
            assert read, "the browser is gone"
            self._pending += read
        message, self._pending = self._pending.split(b"\0", 1)
        return json.loads(message)

    def open(
        self,
        page: Path,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        scripts: bool = True,
        anchor: str = "",
    ) -> None:
        """Show `page` in a window of that size and wait until it is laid out."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        # An address that differs in its anchor alone would not be loaded again.
        self._visit("about:blank")
        self._visit(page.as_uri() + anchor)
        if scripts:
            self.eval("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")

    def _visit(self, address: str) -> None:
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def eval(self, script: str) -> Any:
        """The value of a script in the page (a promise is waited for)."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save what the window shows, or the whole page, as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """End the browser, and wait for it."""
        self._session = None
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        os.close(self._outbox)
        for _ in range(100):
            if os.waitpid(self._process, os.WNOHANG)[0]:
                break
            time.sleep(0.05)
        else:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
        self._inbox.close()


def find_browser() -> str | None:
    """Chromium's program, where there is one on PATH."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((found for name in names if (found := shutil.which(name))), None)
