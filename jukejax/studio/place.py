"""Where the server listens, and who may reach it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where the server listens.

    Attributes:
      login: user and password; None: none is needed, on the loopback only.
    """

    host: str
    port: int
    login: tuple[str, str] | None

    @property
    def is_loopback(self) -> bool:
        """Returns true if only this machine reaches the server."""
        return self.host in ("127.0.0.1", "localhost", "::1")

    def check(self) -> None:
        """Checks that a place that others reach has a password.

        Raises:
          ValueError: it has none.
        """
        if not self.is_loopback and self.login is None:
            raise ValueError(
                f"--host={self.host} is reached from other machines; add --auth=USER:PASSWORD"
            )
