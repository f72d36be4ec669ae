"""The drivers that are ready, by role; a role without one refuses with the plugins' own reasons."""

from __future__ import annotations

from holdfast.errors import Reason, UnavailableError
from holdfast.hooks.base import Driver
from holdfast.hooks.failover import FailoverDriver
from holdfast.hooks.replication import CopyDriver, MirrorDriver
from holdfast.hooks.share import NfsDriver, SmbDriver
from holdfast.hooks.target import TargetDriver
from holdfast.hooks.volume import VolumeDriver
from holdfast.loading.judging import Loaded, PluginReport


def _wrong_kind(role: str, driver: Driver) -> UnavailableError:
    return UnavailableError(f"the plugin for the role {role} gave a {type(driver).__name__}")


class Drivers:
    """One driver for each role, or the reason why there is none."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    @property
    def reports(self) -> tuple[PluginReport, ...]:
        """What was found of every plugin."""
        return self._loaded.reports

    def has(self, role: str) -> bool:
        """Whether a role has a driver."""
        return role in self._loaded.drivers

    def volume(self) -> VolumeDriver:
        """Raises UnavailableError."""
        driver = self._of("volume")
        if not isinstance(driver, VolumeDriver):
            raise _wrong_kind("volume", driver)
        return driver

    def copy(self) -> CopyDriver:
        """Raises UnavailableError."""
        driver = self._of("copy")
        if not isinstance(driver, CopyDriver):
            raise _wrong_kind("copy", driver)
        return driver

    def mirror(self) -> MirrorDriver:
        """Raises UnavailableError."""
        driver = self._of("mirror")
        if not isinstance(driver, MirrorDriver):
            raise _wrong_kind("mirror", driver)
        return driver

    def target(self) -> TargetDriver:
        """Raises UnavailableError."""
        driver = self._of("target")
        if not isinstance(driver, TargetDriver):
            raise _wrong_kind("target", driver)
        return driver

    def failover(self) -> FailoverDriver:
        """Raises UnavailableError."""
        driver = self._of("failover")
        if not isinstance(driver, FailoverDriver):
            raise _wrong_kind("failover", driver)
        return driver

    def smb(self) -> SmbDriver:
        """Raises UnavailableError."""
        driver = self._of("smb")
        if not isinstance(driver, SmbDriver):
            raise _wrong_kind("smb", driver)
        return driver

    def nfs(self) -> NfsDriver:
        """Raises UnavailableError."""
        driver = self._of("nfs")
        if not isinstance(driver, NfsDriver):
            raise _wrong_kind("nfs", driver)
        return driver

    def _of(self, role: str) -> Driver:
        driver = self._loaded.drivers.get(role)
        if driver is None:
            reasons = [reason for report in self._loaded.reports if report.role == role for reason in report.reasons]
            text = f"no plugin for the role {role} is ready"
            remedy = "see GET /v1/plugins, mend what it names and restart holdfastd"
            raise UnavailableError(text, reasons=reasons or [Reason("no-driver", text, remedy)])
        return driver

    async def close(self) -> None:
        """Close every driver; what is served stays served."""
        for driver in self._loaded.drivers.values():
            await driver.close()
