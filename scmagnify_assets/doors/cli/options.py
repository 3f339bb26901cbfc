"""Options of a command from the declarations of a data set's settings: one for each key that is not in a table."""

import types
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click
from typer.core import TyperCommand, TyperOption

from scmagnify_core.errors import InputError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

ARGUMENT = "file"  # the key that commands take as an argument
PANEL = "Data set"  # of the help, for keys that declare none
BOUNDS = {"ge": "min", "gt": "min", "le": "max", "lt": "max"}


class SettingsCommand(TyperCommand):
    """A command that has an option for every key of a data set's TOML that is not in a table.

    The options are made when the command itself is used, because the declarations import numpy and pandas, which
    ``scmagnify --help`` must not wait for. What was given is in ``obj`` of the context: raw settings.
    """

    @cached_property
    def made(self) -> list[TyperOption]:
        """The options, in the order of the help."""
        return options()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters and those that are made; the former's options stand last."""
        own = super().get_params(ctx)
        arguments = [one for one in own if isinstance(one, click.Argument)]
        return [*arguments, *self.made, *(one for one in own if one not in arguments)]

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function, with the raw settings that were given in ``ctx.obj``."""
        given = {str(one.name): ctx.params.pop(str(one.name)) for one in self.made}
        named = {str(one.name): one.opts[0] for one in self.made if one.metavar == "NAME=FILE"}
        ctx.obj = {
            key: named_paths(named[key], value)
            if key in named
            else list(value)
            if isinstance(value, tuple)
            else value
            for key, value in given.items()
            if value not in (None, (), "")
        }
        return super().invoke(ctx)


def options() -> list[TyperOption]:
    """An option for each key that is neither a table nor the argument, in the order of panels."""
    from pydantic import BaseModel

    from scmagnify_core.specification import DatasetSpec

    made = [
        _option(key, field)
        for key, field in DatasetSpec.model_fields.items()
        if key != ARGUMENT and not _is(field.annotation, BaseModel)
    ]
    panels = list(dict.fromkeys(one.rich_help_panel for one in made))
    return sorted(made, key=lambda one: panels.index(one.rich_help_panel))


def named_paths(option: str, given: Sequence[str]) -> dict[str, str]:
    """Paths by name, from arguments of the form NAME=FILE.

    Raises
    ------
    InputError
        One is of another form, or gives a name once more.
    """
    paths: dict[str, str] = {}
    for one in given:
        name, _, path = one.partition("=")
        if not name or not path:
            raise InputError(
                f"{option} {one}", "is not of the form NAME=FILE.", f"Say, {option} celloracle=links.csv"
            )
        if name in paths:
            raise InputError(f"{option} {one}", f"gives '{name}' once more.", "Use each name once.")
        paths[name] = path
    return paths


def _option(key: str, field: "FieldInfo") -> TyperOption:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, Mapping) else {}
    type_, metavar, is_multiple = _kind(key, field)
    default = ", ".join(field.default) if isinstance(field.default, tuple) else field.default
    has_default = not field.is_required() and field.default_factory is None and default not in (None, "")
    return TyperOption(
        param_decls=[key, f"--{str(extra.get('option', key)).replace('_', '-')}"],
        type=type_,
        metavar=metavar,
        multiple=is_multiple,
        show_default=str(default) if has_default else False,
        help=f"{field.description}{' May be repeated.' if is_multiple else ''}",
        rich_help_panel=str(extra.get("panel", PANEL)),
    )


def _kind(key: str, field: "FieldInfo") -> tuple[click.ParamType, str | None, bool]:
    """Type, metavar (None: that of the type) and whether it may be repeated, from the annotation."""
    from pydantic import BaseModel, ByteSize

    kind, is_optional = field.annotation, False
    if get_origin(kind) in (Union, types.UnionType):
        kinds = get_args(kind)
        is_optional = type(None) in kinds
        kind = next(one for one in kinds if one is not type(None))
    if get_origin(kind) is dict:
        return click.STRING, "NAME=FILE", True
    is_multiple = get_origin(kind) is tuple
    kind = get_args(kind)[0] if is_multiple else kind
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind)), None, is_multiple
    if kind is str:
        return click.STRING, None, is_multiple
    if kind is bool:
        return click.BOOL, "true|false", is_multiple
    if kind is ByteSize:
        return click.STRING, "SIZE", is_multiple
    if _is(kind, BaseModel):  # a table that may be given by its name
        return click.STRING, "NAME", is_multiple
    if _is(kind, Path):
        return click.Path(), "FILE", is_multiple
    if kind in (int, float):
        numbers = _range(field.metadata, is_whole=kind is int)
        return (_OrNone(numbers) if is_optional and field.default is not None else numbers), None, is_multiple
    raise TypeError(f"settings key '{key}': no option is known for {field.annotation}")


class _OrNone(click.ParamType):
    """A number, or ``none``, which undoes a default."""

    def __init__(self, numbers: click.IntRange | click.FloatRange) -> None:
        self.numbers, self.name = numbers, f"{numbers.name.removesuffix(' range')} or none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or the word."""
        return value if value == "none" else self.numbers.convert(value, param, ctx)


def _range(metadata: Sequence[object], *, is_whole: bool) -> click.IntRange | click.FloatRange:
    bounds: dict[str, Any] = {}
    for one in metadata:
        for name, end in BOUNDS.items():
            if hasattr(one, name):
                bounds |= {end: getattr(one, name), f"{end}_open": name in ("gt", "lt")}
    return click.IntRange(**bounds) if is_whole else click.FloatRange(**bounds)


def _is(kind: object, parent: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, parent)
