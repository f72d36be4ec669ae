"""The contract of a copy driver, who may connect and what crosses: part of `CopyContract`."""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from holdfast.errors import DeniedError, NotFoundError, UnavailableError
from holdfast.hooks.copying import Tls
from holdfast.testing.certificates import make_identity
from holdfast.testing.trees import make_tree
from holdfast.values import Secret

if TYPE_CHECKING:
    from holdfast.testing.copy import Bench


@dataclass(frozen=True)
class Identities:
    """Two nodes that trust each other and themselves, and a third that nobody knows."""

    source: Tls
    agent: Tls
    stranger: Tls

    @staticmethod
    def make(bench: Bench) -> Identities:
        """See Identities."""
        keys = bench.directory / "keys"
        source, agent, stranger = (make_identity(keys, name) for name in ("source", "agent", "stranger"))
        both = (*source.trusted, *agent.trusted)
        return Identities(replace(source, trusted=both), replace(agent, trusted=both), stranger)


async def encrypt(bench: Bench) -> Identities:
    """Start an encrypted agent; runs of the bench are those of the source that it trusts."""
    known = Identities.make(bench)
    where = bench.agent
    bench.agent = replace(where, tls=known.agent)
    await bench.start()
    bench.agent = replace(where, tls=known.source)
    return known


class CopyTransportContract:
    """What every copy driver does about who connects."""

    # --- encrypted ---

    async def test_an_encrypted_copy_is_equal(self, bench: Bench) -> None:
        make_tree(bench.source)
        await encrypt(bench)
        assert await bench.driver.is_agent_running()
        assert [replica.name for replica in await bench.driver.browse(bench.agent)] == ["docs"]
        await bench.copy()
        assert bench.differences() == ()
        assert await bench.verify("docs/big") == ()

    async def test_an_encrypted_agent_answers_nobody_in_clear(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await encrypt(bench)
        clear = replace(bench.agent, tls=None)
        await bench.assert_refused(UnavailableError, lambda: bench.copy(replace(bench.run, agent=clear)))
        await bench.assert_refused(UnavailableError, lambda: bench.driver.browse(clear))

    async def test_an_agent_in_clear_is_not_taken_for_an_encrypted_one(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        known = Identities.make(bench)
        await bench.start()
        encrypted = replace(bench.agent, tls=known.source)
        await bench.assert_refused(UnavailableError, lambda: bench.copy(replace(bench.run, agent=encrypted)))

    async def test_a_source_whose_certificate_is_not_trusted_is_denied(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        known = await encrypt(bench)
        stranger = replace(bench.agent, tls=replace(known.stranger, trusted=known.source.trusted))
        await bench.assert_refused(DeniedError, lambda: bench.copy(replace(bench.run, agent=stranger)))
        await bench.assert_refused(DeniedError, lambda: bench.driver.browse(stranger))

    async def test_an_agent_whose_certificate_is_not_trusted_is_denied(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        known = await encrypt(bench)
        wary = replace(bench.agent, tls=replace(known.source, trusted=known.stranger.trusted))
        await bench.assert_refused(DeniedError, lambda: bench.copy(replace(bench.run, agent=wary)))

    async def test_an_expired_certificate_is_denied_though_it_is_trusted(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        known = await encrypt(bench)
        old = make_identity(bench.directory / "keys", "old", valid_until=timedelta(days=-1))
        trusted = (*known.agent.trusted, *old.trusted)
        where = bench.agent
        bench.agent = replace(where, tls=replace(known.agent, trusted=trusted))
        await bench.start()
        expired = replace(where, tls=replace(old, trusted=trusted))
        await bench.assert_refused(DeniedError, lambda: bench.copy(replace(bench.run, agent=expired)))

    async def test_who_is_trusted_changes_at_once(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        known = await encrypt(bench)
        source = bench.agent
        agent = replace(source, tls=known.agent)
        stranger = replace(source, tls=replace(known.stranger, trusted=known.source.trusted))
        bench.agent = replace(agent, tls=replace(known.agent, trusted=(*known.agent.trusted, *known.stranger.trusted)))
        await bench.start()
        await bench.copy(replace(bench.run, agent=stranger))
        bench.agent = agent
        await bench.start()
        await bench.assert_refused(DeniedError, lambda: bench.copy(replace(bench.run, agent=stranger)))
        await bench.copy(replace(bench.run, agent=source))

    async def test_an_agent_changes_between_encrypted_and_clear(self, bench: Bench) -> None:
        (bench.source / "file").write_bytes(b"x")
        await encrypt(bench)
        encrypted = bench.agent
        bench.agent = replace(encrypted, tls=None)
        await bench.start()
        await bench.copy()
        await bench.assert_refused(UnavailableError, lambda: bench.copy(replace(bench.run, agent=encrypted)))

    # --- passwords ---

    async def test_the_former_password_is_taken_too_until_it_is_gone(self, bench: Bench) -> None:
        from holdfast.testing.copy import NOTE  # which imports this module

        make_tree(bench.source)
        fresh = Secret("another: one")
        await bench.start(replace(bench.share, password=fresh, former_password=bench.share.password))
        await bench.copy()
        assert bench.differences() == ()
        assert await bench.verify() == ()
        await bench.driver.leave_note(bench.run, NOTE)
        assert await bench.driver.read_notes() == {"docs": NOTE}
        await bench.copy(replace(bench.run, password=fresh))
        wrong = replace(bench.run, password=Secret("neither"))
        await bench.assert_refused(DeniedError, lambda: bench.copy(wrong))
        assert [replica.name for replica in await bench.driver.browse(bench.agent)] == ["docs"]
        await bench.start(replace(bench.share, password=fresh))
        await bench.assert_refused(DeniedError, bench.copy)
        await bench.assert_refused(NotFoundError, lambda: bench.copy(replace(bench.run, replica="other")))
