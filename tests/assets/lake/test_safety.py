"""What a name, a query or a user's file cannot do: reach what it should not, or run code."""

import ast
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

import scmagnify_assets
import scmagnify_core
from scmagnify_assets.datasets import registry
from scmagnify_assets.home import Home
from scmagnify_assets.lake import lakehouse as module
from scmagnify_assets.lake.lakehouse import Lakehouse, check_name, check_new_name, extension_path
from scmagnify_core.data.dataset import read_dataset
from scmagnify_core.data.description import DataDescription
from scmagnify_core.errors import InputError
from scmagnify_core.prior.base_network import read_table

MADE = {"run_id": "run-1", "inputs": [], "parameters": {}, "file_sha256": "f" * 64}
needs_delta = pytest.mark.skipif(extension_path() is None, reason="the delta extension is not installed")

EVIL_NAMES = [
    "", ".", "..", "...", ".hidden", "../x", "a/../../x", "/etc/passwd", "a/b", "a\\b", "~", "$HOME", "-rf",
    "x'", 'x"', "x' OR '1'='1", "x'; DROP TABLE edges; --", "x`", "%", "x%", "*", "x*", "?", "[x]", "x;y", "x|0", "x=y",
    "x y", " x", "x ", "x\n", "x\t", "x\r", "x\0", "\0", "x\0.toml", "\x1b[31mx",
    "blооd", "ｂlood", "bloo\u0301d", "blóod", "x\u200b", "\u202edoolb", "\ufeffx", "\u0661",
    "\u212a", "\u017f", "x\u2044y", "x\u2024y",
    "a" * 65,
]  # fmt: skip
# Odd, but names of files, partitions and literals all the same.
ODD_NAMES = [
    "007", "7", "1e5", "null", "None", "true", "2020-01-01", "a..", "a--b", "nul.txt", "x" * 64, "dataset",
]  # fmt: skip


def edges(n: int) -> pd.DataFrame:
    targets = [f"g{i}" for i in range(n)]
    return pd.DataFrame({"source": "TF", "target": targets, "lag": 1, "weight": 1.0, "magnitude": 1.0, "cv": np.nan})


def write(lake: Lakehouse, dataset: str, n: int, seed: int = 0) -> None:
    lake.write("seed_network", dataset, seed, {"seed_network": edges(n)}, {}, **MADE)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    """One lake for tests that leave its tables as they are."""
    made = Lakehouse(tmp_path_factory.mktemp("safety") / "lake")
    made.create()
    write(made, "x", 3)
    return made


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_names_that_could_escape_or_deceive_are_refused_at_every_door(lake: Lakehouse, tmp_path: Path, name: str):
    file = tmp_path / "x.h5ad"
    file.write_bytes(b"never read")
    before = {path for path in lake.root.parent.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="may hold letters, digits"):
        check_name(name)
    with pytest.raises(InputError, match="may hold letters, digits"):
        write(lake, name, 1)
    with pytest.raises(InputError, match="may hold letters, digits"):
        lake.write("report", "x", None, {}, {name: b"content"}, **MADE)
    with pytest.raises(InputError, match="may hold letters, digits"):
        lake.write(name, "x", None, {}, {"a": b"content"}, **MADE)
    with pytest.raises(InputError, match="may hold letters, digits"):
        registry.register(lake, {"name": name, "file": str(file)})
    with pytest.raises(InputError, match="may hold letters, digits"):
        registry.find(lake, name)
    assert {path for path in lake.root.parent.rglob("*") if path.is_file()} == before


def test_add_refuses_such_names_before_it_reads_anything(home: Home, tmp_path: Path):
    from scmagnify_assets.doors.cli.main import app

    file = tmp_path / "x.h5ad"
    file.write_bytes(b"never read")
    for name in EVIL_NAMES:
        if name and "\0" not in name:  # neither reaches a program as its option
            result = CliRunner().invoke(app, ["add", str(file), f"--name={name}"])
            assert isinstance(result.exception, InputError), result.output
            assert "may hold letters, digits" in str(result.exception)
    assert not list(home.incoming.iterdir())


def test_odd_names_are_data_sets_apart(tmp_path: Path):
    """Neither Delta nor DuckDB may take a name for a number, a null, a date or a pattern."""
    lake = Lakehouse(tmp_path / "lake")
    lake.create()
    for i, name in enumerate(ODD_NAMES, start=1):
        write(lake, check_name(name), i)
    write(lake, "7", 40)
    expected = {name: i for i, name in enumerate(ODD_NAMES, start=1)} | {"7": 40}
    for name, n in expected.items():
        assert len(lake.read("seed_network", name)) == n
        assert lake.current("seed_network", name, 0) is not None
        found = lake.sql("SELECT count(*) AS n FROM seed_network WHERE dataset = $name", {"name": name})
        assert found["n"].to_pylist() == [n]
    assert len(lake.read("seed_network")) == sum(expected.values())


def test_check_new_name_refuses_names_that_differ_in_case_alone():
    assert check_new_name("blood", ["blood", "marrow"]) == "blood"
    assert check_new_name("blood", ["blood2", "b"]) == "blood"
    with pytest.raises(
        InputError, match=r"'Blood': differs from the registered 'blood' in case alone. Choose another"
    ):
        check_new_name("Blood", ["marrow", "blood"])
    with pytest.raises(InputError, match="may hold letters"):
        check_new_name("../x", [])
    with pytest.raises(InputError, match="'All': stands for all data sets"):
        check_new_name("All", [])


@pytest.mark.parametrize(
    "name", ["x' OR '1'='1", "%", "*", "x%", "x\0", "x\n", "X", "ｘ", "", "../lake/seed_network"]
)
def test_read_takes_a_name_for_nothing_but_itself(lake: Lakehouse, name: str):
    assert len(lake.read("seed_network", name)) == 0
    assert lake.current("seed_network", name, 0) is None
    assert lake.sql("FROM seed_network WHERE dataset = ?", [name]).num_rows == 0
    assert len(lake.read("seed_network", "x", materialization_id=None)) == 3


def test_write_takes_no_seed_that_is_more_than_a_number(lake: Lakehouse):
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        write(lake, "x", 1, seed="0 OR true")  # type: ignore[arg-type]
    assert len(lake.read("seed_network", "x")) == 3


# ---------------------------------------------------------------- SQL


def query_outside(lake: Lakehouse) -> list[str]:
    near = lake.root.with_name("lake2")
    near.mkdir(exist_ok=True)
    (near / "secret.csv").write_text("secret\n1\n")
    pq.write_table(pa.table({"secret": [1]}), near / "secret.parquet")
    write_deltalake(near / "delta", pa.table({"secret": [1]}), mode="overwrite")
    return [
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/etc/passwd')",
        "FROM read_blob('/proc/self/environ')",
        "FROM glob('/etc/*')",
        "FROM sniff_csv('/etc/passwd')",
        f"FROM '{near}/secret.csv'",
        f"FROM '{near}/secret.parquet'",
        f"FROM parquet_metadata('{near}/secret.parquet')",
        f"FROM read_csv('{lake.root}/../lake2/secret.csv')",
        f"FROM delta_scan('{near}/delta')",
        "FROM read_csv('http://127.0.0.1:9/x.csv')",
        "FROM duckdb_secrets()",
    ]


@needs_delta
@pytest.mark.parametrize("number", range(12))
def test_sql_reads_nothing_outside_of_the_lake(lake: Lakehouse, number: int):
    query = query_outside(lake)[number]
    with pytest.raises(InputError, match="SQL: .*(reaches outside of the lake, which is not allowed|does not exist)"):
        lake.sql(query)
    with pytest.raises(InputError):
        lake.sql(f"SELECT (SELECT count(*) {query}) FROM seed_network")


def test_sql_reads_nothing_outside_without_the_extension_either(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "extension_path", lambda: None)
    assert lake.sql("FROM seed_network").num_rows == 3
    for query in query_outside(lake):
        with pytest.raises(InputError):
            lake.sql(query)


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO '{0}'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{0}'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{0}'",
        "explain /* SELECT 1; -- */ analyze COPY (SELECT 1) TO '{0}'",
        "EXPLAIN ANALYSE COPY (SELECT 1) TO '{0}'",
        "SELECT 1; COPY (SELECT 1) TO '{0}'",
        "ATTACH '{0}' AS y",
        "EXPORT DATABASE '{0}'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "CREATE TABLE t AS SELECT 1",
        "CALL enable_logging()",
    ],
)
def test_sql_takes_queries_alone(lake: Lakehouse, tmp_path: Path, statement: str):
    for target in (tmp_path / "out", lake.root / "edges" / "out"):
        with pytest.raises(InputError, match="is not a query|syntax error|Parser Error"):
            lake.sql(statement.format(target))
        assert not target.exists()


def test_sql_explains_a_query(lake: Lakehouse):
    assert lake.sql("EXPLAIN FROM seed_network").num_rows


def test_sql_sees_no_variables_of_the_program(lake: Lakehouse):
    frame = pd.DataFrame({"secret": [1]})
    with lake.connect() as connection, pytest.raises(module.duckdb.CatalogException, match="frame does not exist"):
        connection.execute("FROM frame")
    assert len(frame) == 1


def test_connect_opens_nothing_outside_and_its_settings_are_locked(lake: Lakehouse, tmp_path: Path):
    lake.create()
    with lake.connect() as connection:
        for statement in (
            f"COPY (SELECT 1) TO '{tmp_path}/x.csv'",
            f"ATTACH '{tmp_path}/x.duckdb' AS y",
            "FROM read_csv('/etc/passwd')",
            "SET enable_external_access = true",
            "SET allowed_directories = ['/']",
            "SET lock_configuration = false",
            "LOAD httpfs",
        ):
            with pytest.raises(module.duckdb.Error, match="disabled|locked|Cannot"):
                connection.execute(statement)
        assert connection.execute("SELECT count(*) FROM seed_network").fetchall() == [(3,)]
    assert not list(tmp_path.iterdir())


@needs_delta
def test_the_file_of_views_is_read_only(lake: Lakehouse):
    path = lake.root / "lake.duckdb"
    assert path.stat().st_mode & 0o777 == 0o444
    path.unlink()
    lake.create()
    assert path.stat().st_mode & 0o777 == 0o444


# ---------------------------------------------------------------- users' files


class Marker:
    """Something that, once unpickled, leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "code-was-run"


@pytest.fixture
def payload(marker: Path) -> bytes:
    content = pickle.dumps(Marker(marker))
    pickle.loads(content).close()  # it would work
    marker.unlink()
    return content


def h5ad(path: Path, change: Callable[[h5py.File], None]) -> DataDescription:
    """A sound h5ad of 30 cells and 4 genes, changed."""
    obs = pd.DataFrame({"pseudotime": np.linspace(0, 1, 30)}, index=[f"c{i}" for i in range(30)])
    counts = np.random.default_rng(0).poisson(3, (30, 4)).astype(np.float32)
    anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=list("abcd"))).write_h5ad(path)
    with h5py.File(path, "a") as file:
        change(file)
    return DataDescription(name="x", file=path, min_cells=1)


def _array(dataset: h5py.Dataset, kind: str = "array") -> None:
    dataset.attrs["encoding-type"], dataset.attrs["encoding-version"] = kind, "0.2.0"


def _opaque(file: h5py.File, payload: bytes) -> None:
    file["uns"]["x"] = np.void(payload)


def _opaque_array(file: h5py.File, payload: bytes) -> None:
    dtype = h5py.opaque_dtype(f"V{len(payload)}")
    _array(file["uns"].create_dataset("x", data=np.array([payload], dtype=f"V{len(payload)}").astype(dtype)))


def _pickle_encoding(file: h5py.File, payload: bytes) -> None:
    file["uns"]["x"] = np.void(payload)
    _array(file["uns"]["x"], "pickle")


def _object_column(file: h5py.File, payload: bytes) -> None:
    column = file["obs"].create_dataset("evil", (30,), dtype=h5py.vlen_dtype(np.uint8))
    for i in range(30):
        column[i] = np.frombuffer(payload, dtype=np.uint8)
    _array(column)
    file["obs"].attrs["column-order"] = np.array(["pseudotime", "evil"], dtype=object)


def _attribute(file: h5py.File, payload: bytes) -> None:
    file.attrs["pickle"] = np.void(payload)
    file["X"].attrs["pickle"] = np.void(payload)


@pytest.mark.parametrize("change", [_opaque, _opaque_array, _pickle_encoding, _object_column, _attribute])
def test_reading_an_h5ad_never_runs_what_is_pickled_in_it(tmp_path: Path, marker: Path, payload: bytes, change):
    description = h5ad(tmp_path / "evil.h5ad", lambda file: change(file, payload))
    if change is _pickle_encoding:
        with pytest.raises(InputError, match="cannot be read as h5ad"):
            read_dataset(description)
    else:
        assert read_dataset(description).rna.shape == (30, 4)
    assert not marker.exists()


def _external_link(file: h5py.File, other: Path) -> None:
    del file["X"]
    file["X"] = h5py.ExternalLink(str(other), "/secret")


def _link_deep_inside(file: h5py.File, other: Path) -> None:
    file["uns"].create_group("a").create_group("b")["c"] = h5py.ExternalLink(str(other), "/")


def _link_behind_a_soft_link(file: h5py.File, other: Path) -> None:
    file.create_group("unheard of")["x"] = h5py.ExternalLink(str(other), "/secret")
    file["uns"]["x"] = h5py.SoftLink("/unheard of/x")


def _dangling_link(file: h5py.File, other: Path) -> None:
    file["uns"]["x"] = h5py.ExternalLink("nowhere.h5", "/x")


def _external_storage(file: h5py.File, other: Path) -> None:
    file["uns"].create_dataset("x", (100,), dtype="S1", external=[("/etc/passwd", 0, 100)])


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((30, 4), dtype="f4")
    layout[:] = h5py.VirtualSource(str(other), "secret", shape=(30, 4))
    del file["X"]
    _array(file.create_virtual_dataset("X", layout))


OUTSIDE = {
    _external_link: r"/X is a link into another file, '.*other.h5'",
    _link_deep_inside: r"/uns/a/b/c is a link into another file",
    _link_behind_a_soft_link: r"/unheard of/x is a link into another file",
    _dangling_link: r"/uns/x is a link into another file, 'nowhere.h5'",
    _external_storage: r"/uns/x keeps its values in another file, '/etc/passwd'",
    _virtual: r"/X is a virtual dataset, made up of parts of others",
}


@pytest.mark.parametrize("change", OUTSIDE)
@pytest.mark.parametrize("suffix", ["h5ad", "h5mu"])
def test_a_file_that_takes_data_from_others_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change, suffix: str
):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.full((30, 4), 42, dtype="f4")
    description = h5ad(tmp_path / "evil.h5ad", lambda file: change(file, other))
    message = OUTSIDE[change]
    if suffix == "h5mu":
        description = DataDescription(name="x", file=tmp_path / "evil.h5mu")
        with h5py.File(tmp_path / "evil.h5ad") as source, h5py.File(description.file, "w") as file:
            h5py.h5o.copy(source.id, b"/", file.create_group("mod").id, b"rna")
        message = "(/mod/rna)?" + message

    def read(path):
        raise AssertionError("data were read")

    monkeypatch.setattr(anndata, "read_h5ad", read)
    monkeypatch.setattr(mudata, "read_h5mu", read)
    with pytest.raises(InputError, match=f"{message}.*; a data set must hold its own data. Write it anew"):
        read_dataset(description)


def test_soft_links_and_groups_that_hold_themselves_are_no_trap(tmp_path: Path):
    def alias(file: h5py.File) -> None:
        file["uns"]["same"] = h5py.SoftLink("/X")

    assert read_dataset(h5ad(tmp_path / "alias.h5ad", alias)).rna.shape == (30, 4)

    def circle(file: h5py.File) -> None:
        file["uns"]["again"] = file["uns"]

    with pytest.raises(InputError, match="cannot be read as h5ad"):
        read_dataset(h5ad(tmp_path / "circle.h5ad", circle))


def test_reading_a_prior_never_runs_what_is_pickled_in_it(tmp_path: Path, marker: Path, payload: bytes):
    about = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": payload}
    fields = [pa.field("source", pa.string(), metadata=about), pa.field("target", pa.string())]
    table = pa.table({"source": ["a"], "target": ["b"]}, schema=pa.schema(fields))
    pq.write_table(table, tmp_path / "prior.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(read_table(tmp_path / "prior.parquet")) == 1
    for name in (
        "prior.pkl",
        "prior.npz",
        "prior.npy",
        "prior.joblib",
        "prior.csv.pkl",
        "prior.csv",
        "prior.parquet",
    ):
        (tmp_path / name).write_bytes(payload)
        with pytest.raises(InputError):
            read_table(tmp_path / name)
    assert not marker.exists()


# ---------------------------------------------------------------- our own code

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "pickletools",
}
FORBIDDEN_CALLS = {
    "eval", "exec", "torch.load", "np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle", "os.system",
    "os.popen", "yaml.load", "yaml.unsafe_load", "np.lib.format.read_array", "torch.jit.load", "pd.read_hdf",
}  # fmt: skip
MODULES = sorted(
    file for package in (scmagnify_assets, scmagnify_core) for file in Path(package.__path__[0]).rglob("*.py")
)


def dangers(source: str) -> list[str]:
    """Uses of what runs code that it reads."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.partition(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{one.name}" for one in node.names}
            found += sorted(names & FORBIDDEN_CALLS)
            found += [node.module] if (node.module or "").partition(".")[0] in FORBIDDEN_MODULES else []
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            found += [called] if called in FORBIDDEN_CALLS or called.endswith((".to_pickle", ".read_pickle")) else []
            for keyword in node.keywords:
                is_true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                found += [f"{keyword.arg}=True"] if keyword.arg in ("allow_pickle", "shell") and is_true else []
    return found


def test_no_module_reads_what_could_run_code():
    assert len(MODULES) > 60
    found = {file.name: uses for file in MODULES if (uses := dangers(file.read_text(encoding="utf-8")))}
    assert not found


@pytest.mark.parametrize(
    "source",
    ["import pickle", "import joblib.numpy_pickle as j", "from pickle import loads", "from torch import load",
     "torch.load(x)", "np.load(x, allow_pickle=True)", "f(allow_pickle=True)", "frame.to_pickle(x)", "exec(x)",
     "subprocess.run(x, shell=True)"],
)  # fmt: skip
def test_that_test_finds_what_it_looks_for(source: str):
    assert dangers(source)
