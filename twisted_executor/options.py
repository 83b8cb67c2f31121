"""The command line of `twistd script-executor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from twisted.internet.endpoints import quoteStringArgument
from twisted.python import usage

from twisted_executor import keys
from twisted_executor.config import ConfigurationError, read
from twisted_executor.config_texts import config_help
from twisted_executor.engine.credentials import Credentials, CredentialsError


class Options(usage.Options):
    """The command line; an option wins over the environment."""

    synopsis = "[options]"
    longdesc = "Runs untrusted scripts in warm, hardened Docker containers.  Configured by environment variables."
    optParameters = (
        ("host", None, "127.0.0.1", "Address to listen on."),
        ("port", "p", None, "Port to listen on; default: HOST_PORT.", int),
    )
    optFlags = (
        ("debug", None, "Log at level debug."),
        ("check-config", None, "Check the configuration and exit."),
    )

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """@param environ: the environment variables; None: those of the process."""
        super().__init__()
        self._environ = os.environ if environ is None else environ
        self["listen"] = []

    def opt_listen(self, endpoint: str) -> None:
        """An endpoint to listen on, such as unix:/run/executor.sock; may be repeated.  Instead of host and port."""
        self["listen"].append(endpoint)

    opt_l = opt_listen

    def opt_config_help(self) -> None:
        """Explain every environment variable and exit."""
        print(config_help())
        sys.exit(0)

    def postOptions(self) -> None:
        """Read the environment; every problem is reported at once."""
        try:
            self.configuration = read(self._environ)
            path = self.configuration.api_keys_file
            self.api_keys = keys.KeyFile(path) if path else None
            self.credentials = Credentials(self.configuration.registry_auth_file, self._environ)
            self.credentials.check()
        except (ConfigurationError, keys.KeysError, CredentialsError) as error:
            raise usage.UsageError(f"The configuration is wrong:\n{error}") from error
        if self["check-config"]:
            print("The configuration is fine.")
            sys.exit(0)
        port = self.configuration.host_port if self["port"] is None else self["port"]
        if not self["listen"]:
            self["listen"] = [f"tcp:{port}:interface={quoteStringArgument(self['host'])}:backlog=1024"]

    @property
    def level(self) -> str:
        """Of the log: the name of one of twisted's levels."""
        return "debug" if self["debug"] else self.configuration.log_level
