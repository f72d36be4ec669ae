from __future__ import annotations

import asyncio
import json
import socket
import ssl
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import ConflictError, DeniedError, InvalidError, UnavailableError, UnsupportedError
from holdfast.peer.frames import MAX_FRAME_BYTES, Channel
from holdfast.peer.partner import Partner
from holdfast.peer.tls import pairing_client_context, pairing_server_context
from holdfast.values import Secret

LOOPBACK = "127.0.0.1"
WRONG = "00000-00000"


def reason_of(error: BaseException) -> str:
    reasons: Any = getattr(error, "reasons")  # noqa: B009  # only our own errors have them
    return str(reasons[0].code)


async def open_channel(port: int) -> Channel:
    return await Channel.open(LOOPBACK, port, pairing_client_context())


async def test_two_nodes_pair_and_know_each_other(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    joined = await b.pairing.join(LOOPBACK, offer.port, offer.code.reveal().lower())

    known_by_a, known_by_b = a.partners.load(), b.partners.load()
    assert joined == known_by_b
    assert (known_by_a.node, known_by_a.node_id, known_by_a.port) == ("b", b.identity.node_id, b.peer_port)
    assert (known_by_b.node, known_by_b.node_id, known_by_b.port) == ("a", a.identity.node_id, a.peer_port)
    assert known_by_a.certificate_pem == b.identity.certificate_pem
    assert known_by_b.certificate_pem == a.identity.certificate_pem
    assert known_by_a.key.reveal() == known_by_b.key.reveal()
    assert len(bytes.fromhex(known_by_a.key.reveal())) == 32
    assert (a.paired_with, b.paired_with) == ([known_by_a], [known_by_b])


async def test_when_the_join_returns_each_node_can_call_the_other(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    await b.pairing.join(LOOPBACK, offer.port, offer.code)
    assert (await a.client.call("ping", {}, timeout_s=5))["node"] == "b"
    assert (await b.client.call("ping", {}, timeout_s=5))["node"] == "a"


async def test_after_the_pairing_the_port_is_closed(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    await b.pairing.join(LOOPBACK, offer.port, offer.code)
    with pytest.raises(UnavailableError):
        await make_node("c").pairing.join(LOOPBACK, offer.port, offer.code)


async def test_the_code_shows_in_no_representation(make_node: Any) -> None:
    offer = await make_node("a").pairing.offer()
    assert offer.code.reveal() not in repr(offer)


async def test_a_wrong_code_is_denied_thrice_and_then_nothing_listens(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    for left in ("left: 2", "left: 1", "left: 0"):
        with pytest.raises(DeniedError, match=left):
            await b.pairing.join(LOOPBACK, offer.port, WRONG)
    with pytest.raises(UnavailableError) as caught:
        await b.pairing.join(LOOPBACK, offer.port, offer.code.reveal())
    assert "3 tries" in caught.value.reasons[0].remedy
    assert (a.partners.load(), b.partners.load(), a.paired_with) == (None, None, [])


async def test_the_right_code_after_a_wrong_one_pairs(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    with pytest.raises(DeniedError):
        await b.pairing.join(LOOPBACK, offer.port, WRONG)
    await b.pairing.join(LOOPBACK, offer.port, offer.code)
    assert a.partners.load() is not None


async def test_a_connection_that_breaks_off_after_the_greeting_is_a_try_too(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    for _ in range(2):
        channel = await open_channel(offer.port)
        await channel.send(b.pairing._side.hello(b"B" + b"\1" * 32))
        await channel.receive()
        await channel.close()
    with pytest.raises(DeniedError, match="left: 0"):
        await b.pairing.join(LOOPBACK, offer.port, WRONG)


async def test_what_can_be_no_code_is_refused_without_a_connection(make_node: Any) -> None:
    with pytest.raises(InvalidError):
        await make_node("b").pairing.join(LOOPBACK, 1, "short")


async def test_after_five_minutes_nothing_listens(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    assert (offer.expires_at - a.clock.now()).total_seconds() == 300
    await a.clock.advance(299)
    with pytest.raises(DeniedError):
        await b.pairing.join(LOOPBACK, offer.port, WRONG)
    await a.clock.advance(2)
    await asyncio.sleep(0.05)
    with pytest.raises(UnavailableError) as caught:
        await b.pairing.join(LOOPBACK, offer.port, offer.code)
    assert "5 minutes" in caught.value.reasons[0].remedy


async def test_a_code_that_expires_during_the_exchange_is_refused_as_expired(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()

    async def meanwhile() -> None:
        await a.clock.advance(301)

    proxy = await Relay.start(a, offer.port, before={2: meanwhile})
    with pytest.raises(DeniedError, match="expired") as caught:
        await b.pairing.join(LOOPBACK, proxy.port, offer.code)
    await proxy.stop()
    assert reason_of(caught.value) == "code-expired"
    assert a.partners.load() is None


async def test_a_step_of_the_wall_clock_neither_ends_nor_lengthens_an_offer(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    a.clock.step_wall(86400)
    await b.pairing.join(LOOPBACK, offer.port, offer.code)


async def test_a_new_offer_replaces_the_old_one(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    old = await a.pairing.offer()
    new = await a.pairing.offer()
    assert old.code.reveal() != new.code.reveal()
    with pytest.raises(UnavailableError):
        await b.pairing.join(LOOPBACK, old.port, old.code)
    with pytest.raises(DeniedError):
        await b.pairing.join(LOOPBACK, new.port, old.code)
    await b.pairing.join(LOOPBACK, new.port, new.code)


async def test_a_withdrawn_offer_answers_nobody_and_withdrawing_again_is_success(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    await a.pairing.close()
    await a.pairing.close()
    with pytest.raises(UnavailableError):
        await b.pairing.join(LOOPBACK, offer.port, offer.code)


async def test_nobody_at_the_address_is_said_so(make_node: Any) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        closed = silent.getsockname()[1]
    with pytest.raises(UnavailableError, match=str(closed)) as caught:
        await make_node("b").pairing.join(LOOPBACK, closed, WRONG)
    assert reason_of(caught.value) == "pairing-unanswered"


async def test_a_pairing_port_that_is_taken_is_said_so(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    b.pairing._listen = (LOOPBACK, offer.port)
    with pytest.raises(UnavailableError, match="can't be opened"):
        await b.pairing.offer()


async def test_another_machine_takes_the_place_of_one_that_was_given_up_under_a_new_key(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    await b.pairing.join(LOOPBACK, offer.port, offer.code)
    lost = a.partners.load()
    new = make_node("b", "another b")
    offer = await a.pairing.offer()
    with pytest.raises(ConflictError) as caught:
        await new.pairing.join(LOOPBACK, offer.port, offer.code)
    assert "give-up" in caught.value.reasons[0].remedy

    a.partners.save(replace(lost, is_given_up=True))
    offer = await a.pairing.offer()
    await new.pairing.join(LOOPBACK, offer.port, offer.code)
    known = a.partners.load()
    assert (known.node_id, known.is_given_up) == (new.identity.node_id, False)
    assert known.key.reveal() == new.partners.load().key.reveal() != lost.key.reveal()
    with pytest.raises((DeniedError, UnavailableError)):
        await b.client.call("ping", {}, timeout_s=5)


async def test_one_of_another_name_does_not_take_the_place_of_one_that_was_given_up(make_node: Any) -> None:
    a, b = make_node("a"), make_node("b")
    offer = await a.pairing.offer()
    await b.pairing.join(LOOPBACK, offer.port, offer.code)
    a.partners.save(replace(a.partners.load(), is_given_up=True))
    offer = await a.pairing.offer()
    with pytest.raises(ConflictError) as caught:
        await make_node("c").pairing.join(LOOPBACK, offer.port, offer.code)
    assert reason_of(caught.value) == "other-name"


class TestStrangers:
    @pytest.mark.parametrize(
        "noise",
        [
            (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
            b"\xff" * 4,
            (8000).to_bytes(4, "big") + b"[" * 8000,
            (2).to_bytes(4, "big") + b"{}",
            (4).to_bytes(4, "big") + b"null",
            b"\0" * 64,
            b"",
        ],
    )
    async def test_noise_is_refused_costs_no_try_and_the_next_one_is_heard(self, make_node: Any, noise: bytes) -> None:
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        for _ in range(4):
            channel = await open_channel(offer.port)
            channel._writer.write(noise)
            await channel.close()
        await b.pairing.join(LOOPBACK, offer.port, offer.code)

    async def test_a_frame_too_long_is_refused_when_it_is_announced_and_not_read(self, make_node: Any) -> None:
        offer = await make_node("a").pairing.offer()
        channel = await open_channel(offer.port)
        channel._writer.write((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
        answer = json.loads(await channel.receive(timeout_s=2))
        await channel.close()
        assert answer["error"]["code"] == "invalid"

    async def test_what_is_not_tls_is_refused_and_the_next_one_is_heard(self, make_node: Any) -> None:
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        _, writer = await asyncio.open_connection(LOOPBACK, offer.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await writer.drain()
        await b.pairing.join(LOOPBACK, offer.port, offer.code)
        writer.close()

    async def test_a_tls_older_than_1_3_is_refused(self, make_node: Any) -> None:
        offer = await make_node("a").pairing.offer()
        context = pairing_client_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(OSError):  # noqa: PT011  # an alert or a reset, as the loop will have it
            await Channel.open(LOOPBACK, offer.port, context)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"version": 2, "anything": []}, UnsupportedError),
            ({"version": True}, UnsupportedError),
            ({"features": ["teleport"]}, UnsupportedError),
            ({"features": 7}, InvalidError),
            ({"element": "xy"}, InvalidError),
            ({"port": 0}, InvalidError),
            ({"address": "-rf"}, InvalidError),
            ({"extra": 1}, InvalidError),
        ],
    )
    async def test_a_greeting_not_understood_is_refused_with_its_reason_and_costs_no_try(
        self, make_node: Any, change: dict[str, Any], expected: type[Exception]
    ) -> None:
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        for _ in range(4):
            channel = await open_channel(offer.port)
            await channel.send(json.dumps({**json.loads(b.pairing._side.hello(b"B" * 33)), **change}).encode())
            answer = json.loads(await channel.receive())
            assert answer["error"]["code"] == expected.code  # type: ignore[attr-defined]
            await channel.close()
        await b.pairing.join(LOOPBACK, offer.port, offer.code)


class Relay:
    """Stands between joiner and offerer: ends TLS with a certificate of its own and passes frames on.

    `swap` replaces the certificates in the greetings by its own; `before` a frame is passed on, something is done;
    `cut_after` frames nothing passes any more.
    """

    def __init__(self, own: Any, port: int) -> None:
        self.own, self.target = own, port
        self.port = 0
        self.swap = False
        self.cut_after = 99
        self.heard = 0
        self.before: dict[int, Any] = {}

    @classmethod
    async def start(cls, own: Any, port: int, **settings: Any) -> Relay:
        relay = cls(own, port)
        for name, value in settings.items():
            setattr(relay, name, value)
        relay._listener = socket.create_server((LOOPBACK, 0))
        relay._listener.setblocking(False)
        relay.port = relay._listener.getsockname()[1]
        relay._task = asyncio.create_task(relay._serve())
        return relay

    _listener: socket.socket
    _task: asyncio.Task[None]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._listener.close()

    async def _serve(self) -> None:
        connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        joiner = await Channel.accept(connection, pairing_server_context(self.own.identity))
        offerer = await open_channel(self.target)
        try:
            # hello, hello, confirm, confirm, saved, end
            for number, (source, sink) in enumerate([(joiner, offerer), (offerer, joiner)] * 3):
                frame = await source.receive()
                self.heard += 1
                if number in self.before:
                    await self.before[number]()
                if number < 2 and self.swap:
                    hello = json.loads(frame)
                    hello["certificate_pem"] = self.own.identity.certificate_pem
                    frame = json.dumps(hello).encode()
                if number >= self.cut_after:
                    return
                await sink.send(frame)
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            await joiner.close()
            await offerer.close()


class TestTheManInTheMiddle:
    async def test_one_who_relays_all_unchanged_is_caught_before_he_hears_any_proof(self, make_node: Any) -> None:
        a, b, mallory = make_node("a"), make_node("b"), make_node("mallory")
        offer = await a.pairing.offer()
        relay = await Relay.start(mallory, offer.port)
        with pytest.raises(DeniedError, match="stands between"):
            await b.pairing.join(LOOPBACK, relay.port, offer.code)
        await relay.stop()
        assert relay.heard == 2
        assert (a.partners.load(), b.partners.load()) == (None, None)

    async def test_one_who_swaps_the_certificates_is_caught_by_the_seal(self, make_node: Any) -> None:
        a, b, mallory = make_node("a"), make_node("b"), make_node("mallory")
        offer = await a.pairing.offer()
        relay = await Relay.start(mallory, offer.port, swap=True)
        with pytest.raises(DeniedError, match="stands between"):
            await b.pairing.join(LOOPBACK, relay.port, offer.code)
        await relay.stop()
        assert (a.partners.load(), b.partners.load()) == (None, None)

    async def test_the_relay_itself_breaks_nothing(self, make_node: Any) -> None:
        """The negative control of the two above: with the offerer's own key the relay is not noticed."""
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        relay = await Relay.start(a, offer.port)
        await b.pairing.join(LOOPBACK, relay.port, offer.code)
        await relay.stop()
        assert a.partners.load().key.reveal() == b.partners.load().key.reveal()


class TestLostMessages:
    @pytest.mark.parametrize("passed", [0, 1, 2, 3])
    async def test_until_the_joiner_has_saved_neither_is_paired(self, make_node: Any, passed: int) -> None:
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        relay = await Relay.start(a, offer.port, cut_after=passed)
        with pytest.raises(UnavailableError) as caught:
            await b.pairing.join(LOOPBACK, relay.port, offer.code)
        await relay.stop()
        assert reason_of(caught.value) == "pairing-unanswered"
        assert (a.partners.load(), b.partners.load()) == (None, None)

    @pytest.mark.parametrize(("passed", "offerer_is_paired"), [(4, False), (5, True)])
    async def test_then_the_offerer_is_paired_only_if_the_joiner_is_and_the_joiner_knows_the_doubt(
        self, make_node: Any, passed: int, offerer_is_paired: bool
    ) -> None:
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        relay = await Relay.start(a, offer.port, cut_after=passed)
        with pytest.raises(UnavailableError) as caught:
            await b.pairing.join(LOOPBACK, relay.port, offer.code)
        await relay.stop()
        assert reason_of(caught.value) == "half-paired"
        assert b.partners.load() is not None
        assert (a.partners.load() is not None) is offerer_is_paired
        assert (a.server.port is not None) is offerer_is_paired

    @pytest.mark.parametrize("passed", [4, 5])
    @pytest.mark.parametrize("roles_change", [False, True])
    async def test_pairing_again_mends_it_in_either_direction(
        self, make_node: Any, passed: int, roles_change: bool
    ) -> None:
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        relay = await Relay.start(a, offer.port, cut_after=passed)
        with pytest.raises(UnavailableError):
            await b.pairing.join(LOOPBACK, relay.port, offer.code)
        await relay.stop()

        shows, types = (b, a) if roles_change else (a, b)
        again = await shows.pairing.offer()
        await types.pairing.join(LOOPBACK, again.port, again.code)
        assert a.partners.load().key.reveal() == b.partners.load().key.reveal()
        assert (await a.client.call("ping", {}, timeout_s=5))["node"] == "b"
        assert (await b.client.call("ping", {}, timeout_s=5))["node"] == "a"

    async def test_an_offerer_that_can_not_save_says_so_and_the_joiner_returns_to_nothing(
        self, make_node: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        a.partners._path = a.partners._path / "no" / "such" / "directory"
        with pytest.raises(UnavailableError, match="node a could not save"):
            await b.pairing.join(LOOPBACK, offer.port, offer.code)
        assert b.partners.load() is None
        assert b.paired_with == []

    async def test_an_offerer_that_was_paired_meanwhile_says_so_and_the_joiner_returns_to_nothing(
        self, make_node: Any
    ) -> None:
        a, b, c = make_node("a"), make_node("b"), make_node("c")
        offer = await a.pairing.offer()
        other = Partner("c", c.identity.node_id, LOOPBACK, 1, c.identity.certificate_pem, Secret("ab" * 32))

        async def pair_with_another() -> None:
            a.partners.save(other)

        relay = await Relay.start(a, offer.port, before={4: pair_with_another})
        with pytest.raises(ConflictError, match="already paired with node c"):
            await b.pairing.join(LOOPBACK, relay.port, offer.code)
        await relay.stop()
        assert a.partners.load() == other
        assert b.partners.load() is None

    async def test_withdrawing_the_offer_lets_an_exchange_end_whose_joiner_has_saved(self, make_node: Any) -> None:
        a, b = make_node("a"), make_node("b")
        withdrawn: list[asyncio.Task[None]] = []
        start = a.start

        async def withdraw_and_start(partner: Partner) -> None:
            withdrawn.append(asyncio.create_task(a.pairing.close()))
            await asyncio.sleep(0.05)
            await start(partner)

        a.pairing._on_paired = withdraw_and_start
        offer = await a.pairing.offer()
        await b.pairing.join(LOOPBACK, offer.port, offer.code)
        await withdrawn[0]
        assert a.server.port is not None

    async def test_a_fault_ends_the_offer_and_is_logged(self, make_node: Any, caplog: pytest.LogCaptureFixture) -> None:
        a, b = make_node("a"), make_node("b")

        async def fault(partner: Partner) -> None:
            raise KeyError(partner.node)

        a.pairing._on_paired = fault
        offer = await a.pairing.offer()
        with pytest.raises(UnavailableError) as caught:
            await b.pairing.join(LOOPBACK, offer.port, offer.code)
        assert reason_of(caught.value) == "half-paired"
        await a.pairing.close()
        assert "ended by a fault" in caplog.text

    async def test_an_offerer_that_can_not_serve_yet_is_paired_all_the_same(self, make_node: Any) -> None:
        a, b = make_node("a"), make_node("b")
        offer = await a.pairing.offer()
        with socket.create_server((LOOPBACK, a.peer_port)):
            await b.pairing.join(LOOPBACK, offer.port, offer.code)
        assert a.partners.load() is not None
        assert a.server.port is None


class TestPairedAlready:
    async def test_repeating_it_with_the_same_node_is_success_and_changes_no_key(self, pair: Any) -> None:
        a, b = pair
        before = a.partners.load().key.reveal()
        for shows, types in ((a, b), (b, a)):
            offer = await shows.pairing.offer()
            await types.pairing.join(LOOPBACK, offer.port, offer.code)
        assert a.partners.load().key.reveal() == before
        assert b.partners.load().key.reveal() == before

    async def test_two_that_hold_different_keys_agree_on_a_new_one(self, pair: Any) -> None:
        a, b = pair
        known: Partner = a.partners.load()
        a.partners.save(
            Partner(known.node, known.node_id, known.address, known.port, known.certificate_pem, Secret("cd" * 32))
        )
        offer = await a.pairing.offer()
        await b.pairing.join(LOOPBACK, offer.port, offer.code)
        assert a.partners.load().key.reveal() == b.partners.load().key.reveal() != "cd" * 32

    @pytest.mark.parametrize("paired_one_offers", [True, False])
    async def test_another_node_is_a_conflict_that_leaves_all_as_it_was(
        self, pair: Any, make_node: Any, paired_one_offers: bool
    ) -> None:
        a, c = pair[0], make_node("c")
        before = a.partners.load()
        shows, types = (a, c) if paired_one_offers else (c, a)
        offer = await shows.pairing.offer()
        with pytest.raises(ConflictError, match="already paired with node b") as caught:
            await types.pairing.join(LOOPBACK, offer.port, offer.code)
        assert reason_of(caught.value) == "already-paired"
        assert a.partners.load() == before
        assert c.partners.load() is None

    async def test_with_whom_a_node_is_paired_is_told_only_to_who_knows_the_code(
        self, pair: Any, make_node: Any
    ) -> None:
        offer = await pair[0].pairing.offer()
        with pytest.raises(DeniedError):
            await make_node("c").pairing.join(LOOPBACK, offer.port, WRONG)

    async def test_a_partner_with_a_new_identity_is_another_node(self, pair: Any, make_node: Any) -> None:
        a, reinstalled = pair[0], make_node("b", "b-reinstalled")
        offer = await a.pairing.offer()
        with pytest.raises(ConflictError):
            await reinstalled.pairing.join(LOOPBACK, offer.port, offer.code)
        a.partners.forget()
        offer = await a.pairing.offer()
        await reinstalled.pairing.join(LOOPBACK, offer.port, offer.code)

    async def test_a_node_can_not_be_paired_with_itself(self, make_node: Any) -> None:
        a = make_node("a")
        offer = await a.pairing.offer()
        with pytest.raises(ConflictError, match="itself"):
            await a.pairing.join(LOOPBACK, offer.port, offer.code)

    async def test_two_nodes_of_one_name_are_a_conflict(self, make_node: Any) -> None:
        a, namesake = make_node("a"), make_node("a", "other")
        offer = await a.pairing.offer()
        with pytest.raises(ConflictError, match="both nodes are called a"):
            await namesake.pairing.join(LOOPBACK, offer.port, offer.code)
