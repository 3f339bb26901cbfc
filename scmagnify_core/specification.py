"""The TOML beside a data set, as one frozen model: what the file holds, and how to run the method on it.

The command line, the UI and the assets all read this model and nothing else. A setting is looked up in three
places, the later one winning: the preset, the TOML's own tables (``[scmagnify]`` and so on), and what a run overrides.

Presets
-------
``published``
    The hyper-parameters of the publication and its code. What stays ours: normalisation on all genes, roots that
    stand for their own past, z-scores before clipping, no reset of the transition's diagonal between powers, pairs
    of successors for the smoothness term (the published code does not compute it).
``recommended`` (default)
    The model with the choices that recover planted networks better. They were made on simulated data of seeds 100 to
    199; the demo (seed 0) and real data took no part, and ``docs/accuracy.md`` reports on seeds from 200 on. The
    reasons are beside each value below.
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ByteSize, Field, ValidationError, create_model, field_validator, model_validator
from pydantic.config import JsonDict

from scmagnify_core.data.association import AssociationConfig
from scmagnify_core.data.description import COMPARED, EDGES, DataDescription
from scmagnify_core.data.references import References, absolute_path, absolute_references, find_references
from scmagnify_core.diffusion import DiffusionConfig
from scmagnify_core.errors import InputError, shorten
from scmagnify_core.interpretation.activity import ActivityConfig
from scmagnify_core.interpretation.communication import CommunicationConfig
from scmagnify_core.interpretation.regfactors import RegFactorConfig
from scmagnify_core.methods.families import FAMILIES, MAIN, METHODS, NETWORK_METHODS
from scmagnify_core.methods.family import Family, Input
from scmagnify_core.network.network import NetworkConfig
from scmagnify_core.prior.evidence import PriorConfig
from scmagnify_core.prior.peak_gene_links import PeakGeneLinkConfig
from scmagnify_core.prior.tf_binding import TFBindingConfig

_PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "published": {
        "diffusion": {"acyclic": "two_cycles", "lag_step": None, "standardize_lagged": False},
        "network": {"max_cv": 0.2, "lag_weights": "signed", "score": "peak", "dense_share": 0.0},
        "prior_network": {"targets": "associated"},
    },
    "recommended": {},
}
# Those of the families are beside each family.
PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    name: {**tables, **{one.name: one.presets[name] for one in FAMILIES.values() if name in one.presets}}
    for name, tables in _PRESETS.items()
}
RUN: JsonDict = {"panel": "Methods"}  # of the help
PATH_FIELDS = (
    "file", "fragments", "peaks", "prior", "curated", "truth", "ligand_receptor", "receptor_tf", "networks",
)  # fmt: skip
NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,63}")
MAX_SEEDS = 10
DERIVED = ("interpreted", "n_lags", "has_truth")
FORMER_TABLES: Mapping[str, str] = {"granger": "scmagnify"}


class _Spec(DataDescription):
    """A data set and how to run the method on it, every default filled in."""

    preset: Literal["recommended", "published"] = Field(
        "recommended",
        description="Named set of settings; `published` is that of the publication.",
        json_schema_extra=RUN,
    )
    references: References | None = Field(
        None,
        description="Genome, annotation and motifs: a name that `scmagnify references` lists, or a table.",
        json_schema_extra=EDGES,
    )
    curated: Path | None = Field(
        None,
        description="Edges that are candidates whatever other evidence says: source, target[, weight].",
        json_schema_extra=EDGES,
    )
    networks: dict[str, Path] = Field(
        default_factory=dict,
        description="Networks made elsewhere, by name, to be compared with this one: source, target[, weight].",
        json_schema_extra={**COMPARED, "option": "network"},
    )
    memory_budget: ByteSize | None = Field(
        None,
        gt=0,
        exclude=True,  # decides how a result is computed, not what it is: no part of any version
        description="Memory that a step may use, such as '8 GB'; 80 % of what the machine allows when omitted.",
        json_schema_extra=RUN,
    )
    methods: tuple[str, ...] = Field(
        (MAIN,),
        description="Methods to run, by name, or `all`. What is not named costs nothing.",
        json_schema_extra={**RUN, "option": "method"},
    )
    interpret: str | None = Field(
        None,
        description="The method whose network `edges`, RegFactors, activities, communication and the report are made "
        f"from; {MAIN} when omitted, or the first network method where {MAIN} is not run.",
        json_schema_extra=RUN,
    )
    seeds: int = Field(
        3, ge=1, le=MAX_SEEDS, description="Fits of each method, with seeds 0, 1, ...", json_schema_extra=RUN
    )
    gene_association: AssociationConfig = Field(
        default_factory=AssociationConfig, description="Genes that change along pseudotime."
    )
    peak_gene_links: PeakGeneLinkConfig = Field(
        default_factory=PeakGeneLinkConfig, description="Peaks whose accessibility follows a gene."
    )
    tf_binding: TFBindingConfig = Field(default_factory=TFBindingConfig, description="Motifs in open sequence.")
    prior_network: PriorConfig = Field(default_factory=PriorConfig, description="Which evidence makes candidates.")
    diffusion: DiffusionConfig = Field(default_factory=DiffusionConfig, description="Cell graph and lags.")
    network: NetworkConfig = Field(default_factory=NetworkConfig, description="Ranking and aggregation.")
    regfactors: RegFactorConfig = Field(default_factory=RegFactorConfig, description="Tucker decomposition.")
    activity: ActivityConfig = Field(default_factory=ActivityConfig, description="Activities per cell.")
    communication: CommunicationConfig = Field(default_factory=CommunicationConfig, description="Cascades.")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        preset = PRESETS.get(str(raw.get("preset", "recommended")), {})
        return merge(preset, current_names(raw))

    @field_validator("methods", mode="before")
    @classmethod
    def _all_or_some(cls, value: Any) -> Any:
        given = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else value
        return tuple(METHODS) if given == ("all",) else given

    @field_validator("methods")
    @classmethod
    def _known_methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError(f"at least one method must run ({shorten(METHODS)})")
        for name in value:
            if name not in METHODS:
                made = " it is made beside methods wherever there is a ground truth" if name in FAMILIES else ""
                raise ValueError(f"'{name}' is not a method:{made or f' methods are {shorten(METHODS)}'}")
        return tuple(name for name in METHODS if name in value)

    @model_validator(mode="after")
    def _interpreted_method_runs(self) -> "_Spec":
        if self.interpret is not None and self.interpret not in [one.name for one in self.network_methods]:
            raise ValueError(
                f"interpret = '{self.interpret}' is no network method of this data set "
                f"({shorten([one.name for one in self.network_methods]) or 'it has none'})"
            )
        return self

    @field_validator("networks")
    @classmethod
    def _of_other_names(cls, value: dict[str, Path]) -> dict[str, Path]:
        for name in value:
            if name.lower() in FAMILIES:
                raise ValueError(f"'{name}' is a method of this product's own: give the network another name")
            if not NETWORK_NAME.fullmatch(name):
                raise ValueError(f"a name may hold letters, digits, ' ', '_', '.', '+' and '-', not {name!r}")
        return value

    @model_validator(mode="after")
    def _of_one_species(self) -> "_Spec":
        declared = None if self.references is None else self.references.species
        if self.species and declared and self.species.lower() != declared.lower():
            raise ValueError(f"species is '{self.species}', but the references are of '{declared}'")
        return self

    @property
    def description(self) -> DataDescription:
        """The part that concerns the data alone."""
        names = set(DataDescription.model_fields)
        return DataDescription.model_validate({name: getattr(self, name) for name in names})

    def config_of(self, family: Family) -> Any:
        """The settings of a family."""
        return getattr(self, family.name) if family.has_settings else family.config()

    @property
    def network_methods(self) -> tuple[Family, ...]:
        """The network methods that run on the data set."""
        return tuple(family for name, family in NETWORK_METHODS.items() if name in self.methods)

    @property
    def interpreted(self) -> str | None:
        """The method whose network is interpreted; None where no network method runs."""
        names = [one.name for one in self.network_methods]
        return self.interpret or (MAIN if MAIN in names else names[0] if names else None)

    @property
    def reads(self) -> frozenset[Input]:
        """What the methods of the data set read of it."""
        return frozenset().union(*(METHODS[name].reads for name in self.methods))

    @property
    def has_truth(self) -> bool:
        """Whether there is a ground truth to score against."""
        return self.truth is not None

    @property
    def n_lags(self) -> int:
        """Lags K of the lagged expression: as many as a method of the data set asks for; 0 where none reads lags."""
        asked = (METHODS[name] for name in self.methods if Input.LAGS in METHODS[name].reads)
        return max((int(self.config_of(family).n_lags) for family in asked), default=0)

    def parameters(self, names: Collection[str]) -> dict[str, Any]:
        """The settings of these keys, with name and preset, as JSON values.

        Those of `DERIVED` are such keys, too: they follow from settings of which the rest does not matter.
        """
        found = self.model_dump(mode="json", include={"name", "preset", *names})
        return found | {name: getattr(self, name) for name in DERIVED if name in names}


if TYPE_CHECKING:
    DatasetSpec = _Spec
else:
    DatasetSpec = create_model(
        "DatasetSpec",
        __base__=_Spec,
        __doc__=_Spec.__doc__,
        **{
            family.name: (
                family.config,
                Field(default_factory=family.config, description=f"Settings of {family.title}."),
            )
            for family in FAMILIES.values()
            if family.has_settings
        },
    )


def parse_spec(raw: Mapping[str, Any], where: str = "settings") -> DatasetSpec:
    """Validate a data set's raw settings, as a TOML file or a request gives them.

    Raises
    ------
    InputError
        A key is unknown (the nearest known one is named) or a value is out of bounds; all problems are listed.
    """
    try:
        return DatasetSpec.model_validate(_with_nulls(raw, DatasetSpec))
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors()]
        raise InputError(where, "; ".join(problems) + ".", "`scmagnify settings` lists every key.") from error


def read_spec_file(path: Path) -> dict[str, Any]:
    """Raw settings of a TOML file under their present names; its paths are absolute, relative ones start at the TOML.

    Raises
    ------
    InputError
        The file is not there, is no TOML, or gives a table under both its names.
    """
    if not path.is_file():
        raise InputError(f"'{path}'", "there is no such file.", "Check the path.")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}'", f"is not valid TOML ({error}).", "Mend the line it names.") from error
    return absolute_paths(current_names(raw), path.parent)


def absolute_paths(raw: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A copy of raw settings whose paths are absolute; relative ones start at ``base``, ``~`` is the user's home."""
    result = dict(raw)
    for key in PATH_FIELDS:
        if isinstance(given := raw.get(key), str):
            result[key] = absolute_path(given, base)
        elif isinstance(given, list | tuple):
            result[key] = [absolute_path(one, base) for one in given]
        elif isinstance(given, Mapping):
            result[key] = {name: absolute_path(str(one), base) for name, one in given.items()}
    if isinstance(references := raw.get("references"), Mapping):
        result["references"] = absolute_references(references, base)
    return result


def paths_in(raw: Mapping[str, Any]) -> list[str]:
    """Every path that raw settings give, but for those of references, as it stands there."""
    paths: list[str] = []
    for key in PATH_FIELDS:
        given = raw.get(key)
        many = given.values() if isinstance(given, Mapping) else given if isinstance(given, list | tuple) else [given]
        paths += [str(one) for one in many if one is not None]
    return paths


def resolve_references(raw: Mapping[str, Any], declared: Path) -> dict[str, Any]:
    """A copy of raw settings in which a name under ``references`` is replaced by the table it stands for.

    Raises
    ------
    InputError
        The references TOML ``declared`` does not exist or has no such table.
    """
    name = raw.get("references")
    return {**raw, "references": find_references(name, declared)} if isinstance(name, str) else dict(raw)


def named_files(spec: DatasetSpec) -> dict[str, Path]:
    """Every file that the settings name, by the key that names it: ``prior``, ``prior.2``, ``references.genome``."""
    files: dict[str, Path] = {}
    for key in PATH_FIELDS:
        value = getattr(spec, key)
        if isinstance(value, Mapping):
            files |= {f"{key}.{name}": path for name, path in value.items()}
            continue
        many = value if isinstance(value, tuple) else () if value is None else (value,)
        files |= {key if number == 1 else f"{key}.{number}": path for number, path in enumerate(many, start=1)}
    for key, path in spec.references or References():
        if isinstance(path, Path):
            files[f"references.{key}"] = path
    return files


def files_of(names: Collection[str], spec: DatasetSpec) -> dict[str, Path]:
    """The files among :func:`named_files` that these keys of the settings name."""
    return {key: path for key, path in named_files(spec).items() if key.partition(".")[0] in names}


def current_names(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of raw settings in which a table under a former name has its present one.

    Raises
    ------
    InputError
        Both names are given.
    """
    result = dict(raw)
    for former, name in FORMER_TABLES.items():
        if former in result:
            if name in result:
                raise InputError(
                    f"[{former}]",
                    f"is the former name of [{name}], and both are given.",
                    f"Move its keys to [{name}].",
                )
            result = {name if key == former else key: value for key, value in result.items()}
    return result


def override(raw: Mapping[str, Any], settings: Sequence[str], preset: str | None = None) -> dict[str, Any]:
    """Raw settings with ``key=value`` overrides put over them, such as ``scmagnify.n_lags=3``.

    A table under a former name is the table of the present name, in ``raw`` and in the overrides alike.

    Raises
    ------
    InputError
        A setting is not ``key=value``, or names something inside a value that has no parts.
    """
    result = merge({}, current_names(raw))
    if preset is not None:
        result["preset"] = preset
    for setting in settings:
        above = parse_setting(setting)
        below: Any = result
        table, *inside = _parts(setting.partition("=")[0])
        for part in (FORMER_TABLES.get(table, table), *inside)[:-1]:
            below = below.get(part, {})
            if not isinstance(below, Mapping):
                raise InputError(f"'{setting}'", f"'{part}' is a value, not a table.", "Leave out what follows it.")
        result = merge(result, above)
    return result


def parse_setting(setting: str) -> dict[str, Any]:
    """Raw settings that ``key=value`` stands for, as a line of TOML; a value that is no TOML is text.

    >>> parse_setting("granger.n_lags=3"), parse_setting("root=HSC")
    ({'scmagnify': {'n_lags': 3}}, {'root': 'HSC'})

    Raises
    ------
    InputError
        There is no ``=``, or the key is none of TOML.
    """
    key, separator, text = setting.partition("=")
    if not separator or not key.strip():
        raise InputError(f"'{setting}'", "is not of the form key=value.", "Write for instance scmagnify.n_lags=3.")
    value = text.strip()
    try:
        found = {} if "\n" in value else tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        found = {}
    nested: Any = found.get("value", value)
    for part in reversed(_parts(key)):
        nested = {part: nested}
    return current_names(nested)


def _parts(key: str) -> list[str]:
    """The parts of a key of TOML."""
    try:
        place: Any = {} if "\n" in key else tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        place = {}
    parts = []
    while place:  # one table in the other, to the 0
        ((part, place),) = place.items()
        parts.append(part)
    if not parts:
        raise InputError(
            f"'{key}'", "is no key.", 'Join names by dots, and put quotes around one that holds other signs: a."b+".'
        )
    return parts


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Raw settings put over others: tables are merged key by key, anything else is replaced."""
    merged = {key: merge(value, {}) if isinstance(value, Mapping) else value for key, value in below.items()}
    for key, value in above.items():
        if isinstance(value, Mapping):
            base = merged.get(key)
            merged[key] = merge(base if isinstance(base, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def _with_nulls(raw: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A copy of raw settings in which ``"none"`` is None where what is no text may be left out: TOML has no null."""
    result = dict(raw)
    for key, value in raw.items():
        kinds = _kinds(model, key)
        if value == "none" and type(None) in kinds and not {str, Path} & set(kinds):
            result[key] = None
        elif isinstance(value, Mapping):
            for kind in kinds:
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    result[key] = _with_nulls(value, kind)
    return result


def _kinds(model: type[BaseModel], key: str) -> tuple[Any, ...]:
    """The type of a field, and what it is a union of: a part may be optional."""
    field = model.model_fields.get(key)
    return () if field is None else (field.annotation, *get_args(field.annotation))


def _explain(problem: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        model: type[BaseModel] = DatasetSpec
        for part in problem["loc"][:-1]:
            for kind in _kinds(model, str(part)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    model = kind
        known = list(model.model_fields)
        near = get_close_matches(str(problem["loc"][-1]), known, n=1)
        return f"'{place}' is not a known key" + (
            f", did you mean '{near[0]}'?" if near else f" ({shorten(known, 30)})"
        )
    if not place:
        return str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"'{place}' is missing"
    return f"'{place}' = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
