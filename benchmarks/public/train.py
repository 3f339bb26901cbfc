"""Train the public package scmagnify 0.1.1 on an exchange file; runs in its environment and imports nothing of ours.

    OMP_NUM_THREADS=1 ENV/bin/python benchmarks/public/train.py build/public/S.npz
    OMP_NUM_THREADS=1 ENV/bin/python benchmarks/public/train.py build/public/M.npz --epochs 3
    OMP_NUM_THREADS=1 ENV/bin/python benchmarks/public/train.py build/public/L.npz --batches 3

Its own class trains: its layers, step, schedule, early stop, with its published defaults. Prints JSON.

What is the same for both sides: lagged inputs, standardised targets, prior and pseudotime, from the file, and the
held-out cells. Its own lagged inputs (`--inputs own`) come from a dense transition and are not comparable cell by
cell; with the file's inputs only the models and their training differ. The clock is the CPU time of the process from
the call of `train` on, less the evaluation after each epoch; the constructor is not in it.

As installed it cannot train. These shims are all that is changed, none of them in its source:

* `uns["log1p"]` is there before the constructor deletes it;
* `ReduceLROnPlateau` swallows `verbose=`, which torch has dropped;
* `np.NaN` is defined, which mudata 0.2 wants and NumPy 2 lacks;
* `csr_array.getnnz`, which scanpy 1.10 calls on its neighbour graph from some thousands of cells on, is its successor;
* the smoothness term indexes the batch with pseudotime + 1 of all cells, an IndexError. It gets the ranks within the
  batch + 1, as in its first release: which pair rows of the shuffled batch, not successors in pseudotime.
"""

import argparse
import json
import logging
import platform
import resource
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

if not hasattr(np, "NaN"):
    np.NaN = np.nan  # noqa: NPY201

import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse

_plateau = torch.optim.lr_scheduler.ReduceLROnPlateau

if not hasattr(sparse.csr_array, "getnnz"):
    sparse.csr_array.getnnz = sparse.csr_array._getnnz


def _quiet_plateau(*args: Any, verbose: bool = False, **kwargs: Any) -> Any:
    return _plateau(*args, **kwargs)


torch.optim.lr_scheduler.ReduceLROnPlateau = _quiet_plateau

from scmagnify.models import MAGNI  # noqa: E402


class Ranks:
    """Stands for all pseudotimes in its step: `+ 1` gives the ranks within the batch at hand, plus 1."""

    batch: np.ndarray

    def __add__(self, one: int) -> np.ndarray:
        return np.argsort(self.batch) + one


class Enough(Exception):  # noqa: N818
    """Raised after the batches that were asked for."""


class Measured(MAGNI):
    """Its trainer with a clock, on the file's arrays."""

    def __init__(self, file: Any, inputs: str, seed: int, epochs: int | None, batches: int | None) -> None:
        self.file, self.inputs = file, inputs
        names = np.concatenate([file["sources"], file["target_names"]])
        data = AnnData(
            sparse.csr_matrix(file["counts"].astype(np.float32)),
            obs=pd.DataFrame({"time": file["pseudotime"]}, index=[f"cell{i}" for i in range(len(file["counts"]))]),
            var=pd.DataFrame(index=names),
        )
        data.layers["counts"] = data.X.copy()
        data.uns["log1p"] = {}
        source, target = np.nonzero(file["mask"])
        prior = pd.DataFrame({"TF": file["sources"][source], "Target": file["target_names"][target]})
        settings: dict[str, Any] = {"seed": seed, "device": "cpu"} | ({} if epochs is None else {"max_iter": epochs})
        super().__init__(
            data, layer="counts", time_key="time", gene_selected=list(names), basal_grn=prior, **settings
        )
        if not np.array_equal(self.chrom_constraint != 0, file["mask"]):
            raise RuntimeError("Its prior is not that of the file.")
        self.batches, self.ranks = batches, Ranks()
        self.batch_cpu_s: list[float] = []
        self.epochs: list[dict[str, float]] = []
        self.cpu_s = 0.0

    def _preprocess_data(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Cells of the file in order of pseudotime, as its own method gives them; the held-out ones are put aside."""
        order = np.argsort(self.file["pseudotime"])
        targets = torch.from_numpy(self.file["targets"][order])
        time_ = torch.from_numpy(self.file["pseudotime"][order]).float()
        if self.inputs == "own":
            lagged, _, _ = super()._preprocess_data()
        else:
            lagged = torch.from_numpy(self.file["lagged"][order])
        is_held_out = torch.from_numpy(np.isin(order, self.file["held_out"]))
        self.held_out = lagged[is_held_out], targets[is_held_out]
        return lagged[~is_held_out], targets[~is_held_out], time_[~is_held_out]

    def _data_loader(self, AX: Any, Y: Any, T: Any, shuffle: bool = True) -> Any:
        for number, batch in enumerate(super()._data_loader(AX, Y, self.T, shuffle)):
            if self.batches is not None:
                self.batch_cpu_s.append(time.process_time())
                if number == self.batches:
                    raise Enough
            self.ranks.batch = batch[2].numpy()
            yield batch

    def _train_epoch(self, model: Any, AX: Any, Y: Any, T: Any) -> Any:
        losses = super()._train_epoch(model, AX, Y, self.ranks)
        self.cpu_s += time.process_time() - self.clock
        self.peak_mib = peak_mib()  # before the evaluation
        self.epochs.append(
            {"epoch": len(self.epochs) + 1, "cpu_s": self.cpu_s, "loss": losses[0], "loss_mse": losses[1],
             "held_out_mse": self.held_out_error()}
        )  # fmt: skip
        self.clock = time.process_time()
        return losses

    def train(self) -> Any:
        self.clock = time.process_time()
        return super().train()

    @torch.no_grad()
    def held_out_error(self) -> float:
        self.model.eval()
        batches = zip(*(values.split(self.batch_size) for values in self.held_out), strict=True)
        total = sum(float(((self.model(lagged)[1] - seen) ** 2).sum()) for lagged, seen in batches)
        return total / self.held_out[1].numel()


def peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(path: Path, inputs: str, seed: int, epochs: int | None, batches: int | None) -> dict[str, Any]:
    torch.set_num_threads(1)
    with np.load(path) as stored:
        file = dict(stored)
    begin = time.process_time()
    trainer = Measured(file, inputs, seed, epochs, batches)
    versions = {name: version(name) for name in ("scmagnify", "torch", "numpy", "scipy", "pandas", "anndata")}
    result: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **versions},
        "inputs": inputs,
        "seed": seed,
        "cells_trained": len(trainer.Y),
        "batches_per_epoch": -(-len(trainer.Y) // trainer.batch_size),
        "constructor_cpu_s": round(time.process_time() - begin, 2),
        "peak_mib_before": peak_mib(),
    }
    try:
        trainer.train()
    except Enough:
        seconds = np.diff(trainer.batch_cpu_s)
        per_epoch = float(np.median(seconds)) * result["batches_per_epoch"]
        return result | {
            "batch_cpu_s": seconds.round(3).tolist(),
            "cpu_s_per_epoch_extrapolated": round(per_epoch, 1),
            "peak_mib": peak_mib(),
        }
    rows = trainer.epochs
    best = min(rows, key=lambda row: row["held_out_mse"])
    return result | {
        "epochs": len(rows),
        "stopped_by": "early stop" if epochs is None else "epochs asked for",
        "cpu_s": round(rows[-1]["cpu_s"], 2),
        "cpu_s_per_epoch": round(rows[-1]["cpu_s"] / len(rows), 3),
        "peak_mib": trainer.peak_mib,
        "best_held_out_mse": best["held_out_mse"],
        "best_epoch": best["epoch"],
        "cpu_s_to_best": round(best["cpu_s"], 2),
        "last_held_out_mse": rows[-1]["held_out_mse"],
        "trajectory": [{**row, "cpu_s": round(row["cpu_s"], 2)} for row in rows],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, help="write the JSON here instead")
    parser.add_argument("--seed", type=int, default=42, help="its default is 42")
    parser.add_argument("--inputs", choices=["file", "own"], default="file")
    parser.add_argument("--epochs", type=int, help="stop after so many")
    parser.add_argument("--batches", type=int, help="only time so many batches")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    text = json.dumps(
        measure(arguments.file, arguments.inputs, arguments.seed, arguments.epochs, arguments.batches), indent=1
    )
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text)
