"""What a command works with: the API, and how to show what it answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from holdfast_cli.connection import Connection


@dataclass(frozen=True)
class Endpoint:
    """Where the API is, who must answer there, and what opens it."""

    url: str
    certificate: Path
    token_file: Path


@dataclass
class Session:
    """One invocation of the command."""

    endpoint: Endpoint
    as_json: bool = False

    @cached_property
    def connection(self) -> Connection:
        """The API. What it needs is imported only now, so that `--help` is there at once."""
        from holdfast_cli.connection import Connection

        return Connection(self.endpoint)

    def close(self) -> None:
        """Close what was opened."""
        if "connection" in self.__dict__:
            self.connection.close()

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """The document at `path`. Raises ProblemError."""
        return self.send("GET", path, query=query)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request, return the document of the answer. Raises ProblemError."""
        return self.connection.request(method, path, query=query, body=body).document

    def items(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """All items of a list, page by page. Raises ProblemError."""
        asked = dict(query or {})
        while True:
            page = self.get(path, asked)
            yield from page["items"]
            if not (token := page.get("next_page_token")):
                return
            asked["page_token"] = token

    def lines(self, path: str, query: Mapping[str, str]) -> Iterator[str]:
        """The lines of a download. Raises ProblemError, and CommandError where it breaks off."""
        from holdfast_cli.errors import CommandError, Exit

        try:
            yield from self.connection.stream(path, query=query, headers={"Accept": "*/*"})
        except ConnectionError as reason:
            raise CommandError(Exit.UNREACHABLE, f"the download broke off: {reason}", "repeat it") from reason

    def show(self, document: Any) -> None:
        """Print a document on standard output."""
        if self.as_json:
            import json

            click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        elif document is not None:
            from holdfast_cli.render import details

            for line in details(document):
                click.echo(line)

    def show_list(self, items: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print a list on standard output; one that is empty prints nothing but, for a person, a word on stderr."""
        if self.as_json:
            self.show({"items": list(items), "next_page_token": None})
        elif not items:
            say("none")
        else:
            from holdfast_cli.render import table

            for line in table(items, columns):
                click.echo(line)


def say(text: str) -> None:
    """Tell a person something that is not data."""
    click.echo(text, err=True)


def url_path(*parts: str) -> str:
    """`/v1/…` of names, each of them quoted whole."""
    from urllib.parse import quote

    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
