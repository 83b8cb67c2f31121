"""Where log events go, and the event of each request.  docs/logging.md has all events."""

from twisted_executor.logs.named import json_observer, syslog_observer, text_observer

__all__ = ["json_observer", "syslog_observer", "text_observer"]
