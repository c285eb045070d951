"""The shape of every answer, and the base of every body, query and path schema."""

from functools import cache
from typing import Any, Generic, Literal, Self, TypeVar

import msgspec
from flask import Response, current_app
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from domain.paging import Page

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode


@cache
def _json_schema(model: type[BaseModel]) -> dict[str, Any]:
    return BaseModel.model_json_schema.__func__(model)  # type: ignore[attr-defined,no-any-return]  # a classmethod


def _tell_other_names(properties: dict[str, Any], name: str, field: FieldInfo) -> None:
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [alias or name, name]
    others = [f"`{other}`" for other in dict.fromkeys(names[1:]) if other != names[0]]
    if others:
        shown = properties[str(names[0])]
        shown["description"] = f"{shown.get('description', '')} Also accepted as {' or '.join(others)}.".strip()


class ApiModel(BaseModel):
    """Base of every schema at the edge. Unknown fields are ignored, so that clients may be newer than the server."""

    model_config = ConfigDict(
        extra="ignore",
        populate_by_name=True,
        from_attributes=True,
        json_schema_serialization_defaults_required=True,
        defer_build=True,  # its validator is made at its first use: a start need not wait for all of them
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema, which tells of a field's other accepted names too."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        if handler.mode == "validation":
            for name, field in cls.model_fields.items():
                _tell_other_names(schema["properties"], name, field)
        return schema

    @field_validator("*", mode="after")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        # PostgreSQL cannot store NUL, and nobody types it.
        if isinstance(value, str) and "\0" in value:
            raise ValueError("must not contain the NUL character")
        return value


class QueryModel(ApiModel):
    """Base of query schemas: the JSON schema that the framework asks for on each request is made once."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As pydantic's; without arguments, from the cache."""
        return super().model_json_schema(*args, **kwargs) if args or kwargs else _json_schema(cls)


class HeaderModel(QueryModel):
    """Base of header schemas: their fields have the header's name as alias."""

    model_config = ConfigDict(populate_by_name=False)


class PageQuery(QueryModel):
    """Which page of a list."""

    limit: int = Field(20, ge=1, le=100, description="How many items at most.")
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the page before.")


class PageOut(ApiModel, Generic[T]):
    """A page of a list."""

    items: list[T]
    next_cursor: str | None = Field(None, description="Ask for it to get the next page; null at the end.")

    @classmethod
    def of(cls, page: Page[Any]) -> Self:
        """The page as it goes out."""
        return cls.model_validate(page)


class Nothing(ApiModel):
    """The answer where there is nothing to say."""


class Envelope(BaseModel, Generic[T]):
    """Every success."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    success: Literal[True] = True
    data: T
    error: None = None


class ApiError(BaseModel):
    """Every failure. `code` is stable; `error` is for people; `fields` names what is wrong in the request."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    success: Literal[False] = False
    data: None = None
    error: str
    code: str
    request_id: str
    fields: list[str] | None = None


def ok(data: BaseModel | msgspec.Struct | None = None, status: int = 200) -> Response:
    """The success answer around ``data``: a schema's, or a value that has its shape as it is."""
    if isinstance(data, msgspec.Struct):
        body = _encode(data)
    else:
        body = b"{}" if data is None else data.model_dump_json().encode()
    content = b'{"success":true,"data":%s,"error":null}' % body
    return current_app.response_class(content, status, mimetype="application/json")
