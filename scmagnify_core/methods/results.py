"""What a fitted family says, apart from networks (`network.network`): programs of genes, and models of samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from scmagnify_core.errors import InputError


@dataclass(frozen=True)
class Programs:
    """Gene programs and how far each cell uses them.

    ``kinds`` says of each program whether all cells may use it (``baseline``) or only cases (``case``). Weights and
    usages are never negative; their scale is the method's own.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    genes: tuple[str, ...]
    cells: tuple[str, ...]
    weight: Float[np.ndarray, "program gene"]
    usage: Float[np.ndarray, "cell program"]

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit their names."""
        shapes = (self.weight.shape, self.usage.shape, len(self.kinds))
        n = len(self.names)
        if shapes != ((n, len(self.genes)), (len(self.cells), n), n):
            raise InputError(
                "programs", f"have weights {shapes[0]}, usages {shapes[1]} and {shapes[2]} kinds for {n} names, "
                f"{len(self.genes)} genes and {len(self.cells)} cells.",
                "Pass weights as program x gene and usages as cell x program.",
            )  # fmt: skip

    def genes_table(self) -> pd.DataFrame:
        """``program, kind, gene, weight``: the genes of non-zero weight."""
        program, gene = np.nonzero(self.weight)
        return pd.DataFrame(
            {
                "program": np.asarray(self.names, dtype=object)[program],
                "kind": np.asarray(self.kinds, dtype=object)[program],
                "gene": np.asarray(self.genes, dtype=object)[gene],
                "weight": self.weight[program, gene],
            }
        )

    def usage_table(self) -> pd.DataFrame:
        """``cell, program, usage``, a row for each cell and program."""
        return pd.DataFrame(
            {
                "cell": np.repeat(np.asarray(self.cells, dtype=object), len(self.names)),
                "program": np.tile(np.asarray(self.names, dtype=object), len(self.cells)),
                "usage": self.usage.ravel(),
            }
        )


@dataclass(frozen=True)
class SampleModel:
    """How samples differ, and where cells lie once samples are taken out.

    ``distances`` has ``cluster, sample_a, sample_b, distance`` (cluster ``all`` is every cell). ``embeddings`` are
    cells x dimensions, by name.
    """

    cells: tuple[str, ...]
    distances: pd.DataFrame
    embeddings: Mapping[str, Float[np.ndarray, "cell dimension"]] = field(default_factory=dict)

    def embeddings_table(self) -> pd.DataFrame:
        """``embedding, cell, dimension, value``; dimensions are counted from 1."""
        frames = [
            pd.DataFrame(
                {
                    "embedding": name,
                    "cell": np.repeat(np.asarray(self.cells, dtype=object), values.shape[1]),
                    "dimension": np.tile(np.arange(1, values.shape[1] + 1, dtype=np.int16), len(self.cells)),
                    "value": values.ravel(),
                }
            )
            for name, values in self.embeddings.items()
        ]
        columns = ["embedding", "cell", "dimension", "value"]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
