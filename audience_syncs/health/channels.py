"""Sends a message through a channel: Slack, Teams, email, PagerDuty, a webhook, ..., by `apprise`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from audience_syncs.model.alerts import ChannelConfig

SHORTEST_SECRET = 4
"""Parts of a URL shorter than this are no secrets, and hiding them would make an error unreadable."""


def send(channel: ChannelConfig, title: str, body: str, environ: Mapping[str, str]) -> str:
    """Sends it; answers why that failed, or nothing. The answer never holds a part of the channel's URL but its scheme."""
    variable = channel.url.env
    url = environ.get(variable, "").strip()
    if not url:
        return f"the environment variable {variable} is not set"
    # Imported late: it brings a hundred services.
    import apprise

    messenger = apprise.Apprise()
    if not messenger.add(url):
        return f"{variable} holds no URL that apprise knows; see the list of services in its documentation"
    with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as captured:  # type: ignore[no-untyped-call]
        try:
            sent = messenger.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT)
        except Exception as error:  # noqa: BLE001 - a plug-in of a hundred; an alert must not end the watch
            return without_secrets(f"{type(error).__name__}: {error}", url)
        said = captured.getvalue()
    if sent:
        return ""
    words = " ".join(line.strip() for line in said.splitlines() if line.strip())
    return without_secrets(words or "the service did not take the message", url)[:500]


def without_secrets(text: str, url: str) -> str:
    """The text, with everything in it that stands in the URL replaced."""
    rest = url.partition("://")[2]
    parts = {url, rest, *re.split(r"[/?&=:@,;#]+", rest)}
    parts |= {unquote(part) for part in parts}
    host = urlsplit(url).hostname or ""
    for part in sorted(parts | {host}, key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET:
            text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
    return text
