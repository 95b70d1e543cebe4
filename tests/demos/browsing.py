"""A page in headless Chromium, and what it asked for and complained about."""

import shutil
from typing import Any
from urllib.parse import urlsplit

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOW_TO_GET_IT = "needs Chromium on the PATH: apt-get install chromium"
# Gradio's own stream of events says so now and then where a page is left.
_ON_LEAVING = ("AbortError: signal is aborted", "Connection errored out")
_OWN = {"127.0.0.1", "localhost", None}


class Visit:
    """An open page of a demo; :meth:`check` says what no demo may do."""

    def __init__(self, browser: Any, address: str, width: int = 1280, **settings: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._note)
        self.page.on("pageerror", self._note_error)
        self.page.goto(address)
        self.page.get_by_role("heading", level=1).wait_for()

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self._note_error(message.text)

    def _note_error(self, error: Any) -> None:
        if not any(told in str(error) for told in _ON_LEAVING):
            self.complaints.append(str(error))

    def check(self) -> None:
        """No request left this machine, no error in the console, nothing wider than the window."""
        foreign = [url for url in self.asked if urlsplit(url).hostname not in _OWN]
        assert not foreign, foreign
        assert not self.complaints, self.complaints
        assert self.page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )

    def focused(self) -> str:
        """Say what has the keyboard: its role or tag, and its name."""
        return self.page.evaluate(
            """() => {
                const at = document.activeElement;
                if (at === document.body) return 'nothing';
                const label = at.closest('label')?.innerText ?? '';
                const name = at.ariaLabel || at.innerText || label;
                return `${at.role ?? at.tagName.toLowerCase()} ${name.trim()}`;
            }"""
        )

    def tab_to(self, name: str, at_most: int = 40) -> None:
        """Press Tab until what has the keyboard is called so."""
        passed = []
        for _ in range(at_most):
            if name in self.focused():
                return
            passed.append(self.focused())
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab never came to {name!r}, but to {passed}")
