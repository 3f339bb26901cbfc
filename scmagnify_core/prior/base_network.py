"""Read a base network from a table: parquet, CSV or TSV, under any of the field's column names."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from scmagnify_core.errors import InputError, MissingColumnError

# Column names in use for the same thing, lower case: decoupler, CellOracle, SCENIC, BEELINE, GRNBoost2, scMagnify. The
# first one that is there counts.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "source": ("source", "tf", "regulator", "gene1", "source_genesymbol", "from"),
    "target": ("target", "target_gene", "targetgene", "gene", "gene2", "target_genesymbol", "tg", "to"),
    "weight": ("weight", "score", "importance", "mor", "coef_mean", "edgeweight"),
    "ligand": ("ligand", "ligand_complex"),
    "receptor": ("receptor", "receptor_complex"),
    "tf": ("tf", "source", "target", "gene"),
}


def read_table(path: Path) -> pd.DataFrame:
    """Read a parquet, CSV or TSV table (the latter two also gzipped) as it is.

    Raises
    ------
    InputError
        The file is not there, of another format, damaged or without rows.
    """
    if not path.is_file():
        raise InputError(f"'{path}'", "there is no such file.", "Check the path.")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    try:
        if ".parquet" in suffixes:
            frame = pd.read_parquet(path)
        elif {".csv", ".tsv", ".txt"} & set(suffixes):
            frame = pd.read_csv(path, sep="," if ".csv" in suffixes else "\t")
        else:
            raise InputError(f"'{path.name}'", "is not a known format.", "Give a parquet, CSV or TSV table.")
    except (OSError, ValueError, EOFError, zlib.error) as error:  # the last two come from damaged gzip files
        raise InputError(
            f"'{path}'", f"cannot be read ({str(error).strip()[:160]}).", "Check that the file is whole."
        ) from error
    if frame.empty:
        raise InputError(f"'{path}'", "has no rows.", "Give a table with at least one row.")
    return frame


def rename_columns(frame: pd.DataFrame, names: tuple[str, ...], where: str) -> pd.DataFrame:
    """Rename the columns that mean ``names`` to just those, whatever they are called in ``frame``.

    Raises
    ------
    MissingColumnError
        No column has one of the names in use.
    """
    by_lower_name = {str(column).lower(): column for column in reversed(list(frame.columns))}
    renamed = frame.copy(deep=False)
    for name in names:
        if name in renamed:
            continue
        alias = next((by_lower_name[alias] for alias in ALIASES.get(name, (name,)) if alias in by_lower_name), None)
        if alias is None:
            raise MissingColumnError(
                where, name, list(frame.columns), f"Rename the column that holds it to '{name}'."
            )
        renamed = renamed.rename(columns={alias: name})
    return renamed


def read_base_network(path: Path) -> pd.DataFrame:
    """Read a base network.

    Returns
    -------
    Frame with ``source``, ``target``, ``weight`` (1 where the file gives none), ``evidence`` (``imported``) and
    ``origin`` (the file's ``db`` column where it has one, else its name). An edge named more than once keeps its
    largest absolute weight and all its origins.

    Raises
    ------
    InputError
        The file is unreadable or empty; a column is missing; a weight is not a finite number; no row names an edge.
    """
    edges = read_edges(path)
    edges = edges.iloc[np.argsort(-edges["weight"].abs().to_numpy(), kind="stable")]
    merged = edges.groupby(["source", "target"], sort=True).agg(
        weight=("weight", "first"),
        origin=("origin", lambda values: ",".join(sorted(set(",".join(values).split(","))))),
    )
    return merged.reset_index().assign(evidence="imported")[["source", "target", "weight", "evidence", "origin"]]


def read_edges(path: Path) -> pd.DataFrame:
    """Read the edges of a network as they are, repeats included.

    Returns
    -------
    Frame with ``source``, ``target``, ``weight`` (1 where the file gives none) and ``origin``, as `read_base_network`
    has them; rows without a name are left out.

    Raises
    ------
    InputError
        As `read_base_network`.
    """
    where = f"'{path.name}'"
    frame = rename_columns(read_table(path), ("source", "target"), where)
    lower = {str(column).lower(): column for column in frame.columns}
    weight_column = next((lower[name] for name in ALIASES["weight"] if name in lower), None)
    weight = pd.Series(1.0, index=frame.index) if weight_column is None else frame[weight_column]
    weight = pd.to_numeric(weight, errors="coerce")
    is_bad = ~np.isfinite(weight.to_numpy(dtype=np.float64))
    if is_bad.any():
        first = frame.iloc[int(np.argmax(is_bad))]
        raise InputError(
            f"{where}['{weight_column}']",
            f"{int(is_bad.sum())} weights are not numbers, the first is '{first[str(weight_column)]}' "
            f"of {first['source']} -> {first['target']}.",
            "Repair or drop them.",
        )
    edges = pd.DataFrame(
        {
            "source": frame["source"].astype("string"),
            "target": frame["target"].astype("string"),
            "weight": weight.astype(np.float64),
            "origin": frame["db"].astype(object).fillna(path.name).astype(str) if "db" in frame else path.name,
        }
    ).dropna()
    if edges.empty:
        raise InputError(where, "names no edge.", "Fill its source and target columns.")
    return edges.astype({"source": str, "target": str})
