from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.tests.fake_node import TOKEN, FakeNode, Run, make_certificate, serve
from holdfast_cli.main import main


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def node(certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[FakeNode]:
    pem, key = certificate
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n")
    fake = FakeNode("", pem, token_file)
    server = serve(fake, key)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def holdfast(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `holdfast …` against the node; it returns the exit code."""
    monkeypatch.setenv("HOLDFAST_URL", node.url)
    monkeypatch.setenv("HOLDFAST_CERTIFICATE", str(node.certificate))
    monkeypatch.setenv("HOLDFAST_TOKEN_FILE", str(node.token_file))
    return lambda *arguments: main(arguments)
