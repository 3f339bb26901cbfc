"""The TOML beside a data set, as one frozen model: what the file holds, and how to run the method on it.

The command line, the UI and the assets all read this model and nothing else. A setting is looked up in three
places, the later one winning: the preset, the TOML's own tables (``[granger]`` and so on), and what a run overrides.

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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ByteSize, Field, ValidationError, field_validator, model_validator

from scmagnify_core.data.association import AssociationConfig
from scmagnify_core.data.description import DataDescription
from scmagnify_core.data.references import References, absolute_references, find_references
from scmagnify_core.diffusion import DiffusionConfig
from scmagnify_core.errors import InputError, shorten
from scmagnify_core.interpretation.activity import ActivityConfig
from scmagnify_core.interpretation.communication import CommunicationConfig
from scmagnify_core.interpretation.regfactors import RegFactorConfig
from scmagnify_core.methods import NAMES as OWN_METHODS
from scmagnify_core.methods.grn.granger.config import GrangerConfig
from scmagnify_core.network.network import NetworkConfig
from scmagnify_core.prior.evidence import PriorConfig
from scmagnify_core.prior.peak_gene_links import PeakGeneLinkConfig
from scmagnify_core.prior.tf_binding import TFBindingConfig

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "published": {
        "diffusion": {"acyclic": "two_cycles", "lag_step": None, "standardize_lagged": False},
        "network": {"max_cv": 0.2, "lag_weights": "signed", "score": "peak", "dense_share": 0.0},
        "prior_network": {"targets": "associated"},
    },
    "recommended": {
        "granger": {
            # A linear model with exact zeros recovers planted edges better than the published neural one, in a tenth
            # of the time; what depends on the state of a cell is added where held-out cells say so.
            "backbone": "group_elastic_net",
            # Coefficients start at zero: the noise of the published initial output layer outlasts training.
            "output_init": "zero",
            # Positive branch weights: free ones flip signs between lags.
            "attention": "softmax",
            # Shrinkage per coefficient that depends neither on the number of TFs nor on the prior's density.
            "penalty_scale": "targets",
            "sparsity": 0.15,
            # Beside a backbone, cells need not share their coefficients: with ten times as much, what was left over
            # predicted held-out cells worse than the best linear model.
            "smoothness": 0.1,
            # Chosen by time to the same recovery, on 200 to 1,500 cells. Two things decide it: fewer and larger steps,
            # and a rate that falls as soon as the loss stalls, because what then remains of the loss is noise of the
            # steps themselves. With less patience 200 cells stopped before they had learned.
            "hidden": (8,),
            "batch_size": 128,
            "learning_rate": 0.006,
            "tolerance": 0.01,
            "scheduler_patience": 1,
            "patience": 10,
        },
    },
}
# Settings that each result of the graph depends on directly; a data set depends on its whole description.
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "gene_association": ("gene_association",),
    "peak_gene_links": ("peak_gene_links", "prior_network", "references"),
    "tf_binding": ("tf_binding", "prior_network", "references"),
    "prior_network": ("prior_network", "prior", "curated", "references"),
    "diffusion_operators": ("diffusion", "granger"),
    "trained_model": ("granger",),
    "seed_network": (),
    "multiscale_network": ("network", "seeds"),
    "regfactors": ("regfactors",),
    "tf_activity": ("activity",),
    "regfactor_activity": ("activity",),
    "communication_scores": ("communication", "ligand_receptor", "receptor_tf"),
    "imported_networks": ("networks",),
    "baseline_networks": (),
    "network_scores": ("truth",),
    "report": (),
}
PATH_FIELDS = (
    "file", "fragments", "peaks", "prior", "curated", "truth", "ligand_receptor", "receptor_tf", "networks",
)  # fmt: skip
NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+ -]{0,63}")
MAX_SEEDS = 10


class DatasetSpec(DataDescription):
    """A data set and how to run the method on it, every default filled in."""

    preset: Literal["recommended", "published"] = Field("recommended", description="Named set of settings.")
    references: References | None = Field(
        None, description="Genome, annotation and motifs: a name of the references TOML, or a table."
    )
    curated: Path | None = Field(
        None, description="Edges that are candidates whatever other evidence says: source, target[, weight]."
    )
    networks: dict[str, Path] = Field(
        default_factory=dict,
        description="Networks made elsewhere, by name, to be compared with this one: source, target[, weight].",
    )
    memory_budget: ByteSize | None = Field(
        None,
        gt=0,
        exclude=True,  # decides how a result is computed, not what it is: no part of any version
        description="Memory that a step may use, such as '8 GB'; 80 % of what the machine allows when omitted.",
    )
    seeds: int = Field(3, ge=1, le=MAX_SEEDS, description="Models to train, with seeds 0, 1, ...")
    gene_association: AssociationConfig = Field(
        default_factory=AssociationConfig, description="Genes that change along pseudotime."
    )
    peak_gene_links: PeakGeneLinkConfig = Field(
        default_factory=PeakGeneLinkConfig, description="Peaks whose accessibility follows a gene."
    )
    tf_binding: TFBindingConfig = Field(default_factory=TFBindingConfig, description="Motifs in open sequence.")
    prior_network: PriorConfig = Field(default_factory=PriorConfig, description="Which evidence makes candidates.")
    diffusion: DiffusionConfig = Field(default_factory=DiffusionConfig, description="Cell graph and lags.")
    granger: GrangerConfig = Field(default_factory=GrangerConfig, description="Model and training.")
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
        return merge(preset, raw)

    @field_validator("networks")
    @classmethod
    def _of_other_names(cls, value: dict[str, Path]) -> dict[str, Path]:
        for name in value:
            if name.lower() in OWN_METHODS:
                raise ValueError(f"'{name}' is a method of this product's own: give the network another name")
            if not NETWORK_NAME.fullmatch(name):
                raise ValueError(f"a name may hold letters, digits, ' ', '_', '.', '+' and '-', not {name!r}")
        return value

    @model_validator(mode="after")
    def _of_one_species(self) -> "DatasetSpec":
        declared = None if self.references is None else self.references.species
        if self.species and declared and self.species.lower() != declared.lower():
            raise ValueError(f"species is '{self.species}', but the references are of '{declared}'")
        return self

    @property
    def description(self) -> DataDescription:
        """The part that concerns the data alone."""
        names = set(DataDescription.model_fields)
        return DataDescription.model_validate({name: getattr(self, name) for name in names})

    def parameters_of(self, asset: str) -> dict[str, Any]:
        """The settings that one result depends on directly, as JSON values; those of its inputs are theirs."""
        names = PARAMETERS.get(asset, tuple(DataDescription.model_fields))
        return self.model_dump(mode="json", include={"name", "preset", *names})


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
    """Raw settings of a TOML file; its relative paths are made absolute, relative to the TOML.

    Raises
    ------
    InputError
        The file is not there or is no TOML.
    """
    if not path.is_file():
        raise InputError(f"'{path}'", "there is no such file.", "Check the path.")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"'{path}'", f"is not valid TOML ({error}).", "Mend the line it names.") from error
    return absolute_paths(raw, path.parent)


def absolute_paths(raw: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A copy of raw settings whose paths are absolute; relative ones start at ``base``."""
    result = dict(raw)
    for key in PATH_FIELDS:
        if isinstance(given := raw.get(key), str):
            result[key] = str((base / given).resolve())
        elif isinstance(given, list | tuple):
            result[key] = [str((base / one).resolve()) for one in given]
        elif isinstance(given, Mapping):
            result[key] = {name: str((base / str(one)).resolve()) for name, one in given.items()}
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


def files_of(asset: str, spec: DatasetSpec) -> dict[str, Path]:
    """The files among :func:`named_files` that one result reads itself."""
    wanted = PARAMETERS.get(asset, ("file", "fragments", "peaks"))
    return {key: path for key, path in named_files(spec).items() if key.partition(".")[0] in wanted}


def override(raw: Mapping[str, Any], settings: Sequence[str], preset: str | None = None) -> dict[str, Any]:
    """Raw settings with ``key=value`` overrides put over them, such as ``granger.n_lags=3``.

    Values are read as TOML where they are (numbers, true, lists) and as text otherwise.

    Raises
    ------
    InputError
        A setting has no ``=``, or names something inside a value that has no parts.
    """
    result: dict[str, Any] = merge({}, raw)
    if preset is not None:
        result["preset"] = preset
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not key.strip():
            raise InputError(f"'{setting}'", "is not of the form key=value.", "Write for instance granger.n_lags=3.")
        *tables, name = key.strip().split(".")
        place = result
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise InputError(f"'{setting}'", f"'{table}' is a value, not a table.", "Leave out what follows it.")
        place[name] = _parse_value(text.strip())
    return result


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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
