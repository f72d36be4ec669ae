"""`/v1/share-users` and `/v1/share-groups`: who may use shares."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from holdfast.api.fields import Name, SecretText
from holdfast.api.routes import Call, ChangeQuery, Page, Route, Started
from holdfast.services.shares.accounts import FIRST, LAST, ShareAccounts
from holdfast.services.shares.documents import ShareUserDocument
from holdfast.values import to_plain


def _number(what: str) -> Any:
    return fields.Integer(
        strict=True,
        validate=validate.Range(min=FIRST, max=LAST),
        metadata={"description": f"The number of the {what}, to have the same on both nodes; by default the next one."},
    )


class ShareUserSchema(Schema):
    """A user to make."""

    name = Name(required=True)
    password = SecretText(required=True, shortest=8)
    uid = _number("user")
    label = fields.String(load_default="", validate=validate.Length(max=100))


class SharePasswordSchema(Schema):
    """A user's new password."""

    password = SecretText(required=True, shortest=8)


class ShareMembersSchema(Schema):
    """Who is in a group; who is not named is out of it."""

    members = fields.List(Name(), required=True, validate=validate.Length(max=1000))


class ShareGroupSchema(ShareMembersSchema):
    """A group to make."""

    name = Name(required=True)
    gid = _number("group")


def _shown(user: ShareUserDocument) -> dict[str, Any]:
    return {key: value for key, value in to_plain(user).items() if key != "password"}


def routes(accounts: ShareAccounts) -> tuple[Route, ...]:
    """The routes of these nouns."""

    async def show_users(call: Call) -> Page:
        return Page([_shown(user) for user in await accounts.users()])

    async def show_user(call: Call) -> Any:
        return _shown(await accounts.user(call.path["name"]))

    async def create_user(call: Call) -> Started:
        body = call.body
        terms = body["name"], body["password"], body.get("uid"), body["label"]
        return Started(await accounts.create_user(*terms, validate_only=call.validate_only))

    async def set_password(call: Call) -> Started:
        password = call.body["password"]
        return Started(await accounts.set_password(call.path["name"], password, validate_only=call.validate_only))

    async def delete_user(call: Call) -> Started:
        return Started(await accounts.delete_user(call.path["name"], validate_only=call.validate_only))

    async def show_groups(call: Call) -> Page:
        return Page(await accounts.groups())

    async def show_group(call: Call) -> Any:
        return await accounts.group(call.path["name"])

    async def create_group(call: Call) -> Started:
        terms = call.body["name"], tuple(call.body["members"]), call.body.get("gid")
        return Started(await accounts.set_group(*terms, is_new=True, validate_only=call.validate_only))

    async def set_members(call: Call) -> Started:
        terms = call.path["name"], tuple(call.body["members"]), None
        return Started(await accounts.set_group(*terms, is_new=False, validate_only=call.validate_only))

    async def delete_group(call: Call) -> Started:
        return Started(await accounts.delete_group(call.path["name"], validate_only=call.validate_only))

    user, group = "/v1/share-users/{name}", "/v1/share-groups/{name}"
    change: dict[str, Any] = {"query": ChangeQuery, "changes": True}
    return (
        Route("GET", "/v1/share-users", "Users of shares, by name.", show_users),
        Route("POST", "/v1/share-users", "Make a user.", create_user, body=ShareUserSchema, **change),
        Route("GET", user, "One user.", show_user),
        Route("PUT", f"{user}/password", "Set a password.", set_password, body=SharePasswordSchema, **change),
        Route("DELETE", user, "Remove a user; his files keep his number.", delete_user, **change),
        Route("GET", "/v1/share-groups", "Groups of users, by name.", show_groups),
        Route("POST", "/v1/share-groups", "Make a group.", create_group, body=ShareGroupSchema, **change),
        Route("GET", group, "One group.", show_group),
        Route("PUT", group, "Say who is in a group.", set_members, body=ShareMembersSchema, **change),
        Route("DELETE", group, "Remove a group.", delete_group, **change),
    )
