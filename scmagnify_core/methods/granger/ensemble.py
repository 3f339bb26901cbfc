"""Several seeds of one data set, side by side.

Seeds share nothing but their input, so on a CPU each trains in a process of its own with one thread: at this size two
threads of one model are slower than two models of one thread each. On CUDA the seeds take turns on the device.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.context import SpawnContext
from multiprocessing.managers import SyncManager
from queue import Empty
from typing import Any

import numpy as np
from jaxtyping import Float

from scmagnify_core.diffusion import DiffusionOperators
from scmagnify_core.methods.granger.config import GrangerConfig
from scmagnify_core.methods.granger.result import TrainingResult
from scmagnify_core.methods.granger.training import choose_device, train
from scmagnify_core.parallel import end_with_parent
from scmagnify_core.prior import PriorNetwork

SeedProgress = Callable[[int, int, int, float], None]  # seed, epoch, upper bound on epochs, loss


def train_seeds(
    operators: DiffusionOperators,
    targets: Float[np.ndarray, "cell target"],
    pseudotime: Float[np.ndarray, " cell"],
    prior: PriorNetwork,
    config: GrangerConfig,
    seeds: Sequence[int],
    progress: SeedProgress | None = None,
    n_workers: int | None = None,
) -> dict[int, TrainingResult]:
    """Train each seed; the result of a seed is that of :func:`train` alone, bit for bit.

    Parameters
    ----------
    n_workers
        Processes at a time; the usable cores when None. 1 trains in this process.
    """
    inputs = (operators, targets, pseudotime, prior, config)
    n_workers = min(n_workers or len(os.sched_getaffinity(0)), len(seeds))
    if n_workers <= 1 or choose_device(config.device).type == "cuda":
        return {seed: _train_one(inputs, seed, progress) for seed in seeds}
    # Spawned, not forked: a forked child of a process that has used threads or CUDA may hang.
    context = multiprocessing.get_context("spawn")
    with _manager(context) as manager, ProcessPoolExecutor(n_workers, context, _start, (inputs,)) as pool:
        queue = manager.Queue()
        futures = {pool.submit(_work, seed, queue): seed for seed in seeds}
        pending: set[Future[TrainingResult]] = set(futures)
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            _forward(queue, progress)
            for future in done:
                if future.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                future.result()
        return {seed: future.result() for future, seed in futures.items()}


def _manager(context: SpawnContext) -> SyncManager:
    manager = SyncManager(ctx=context)
    manager.start(end_with_parent)
    return manager


def _train_one(inputs: tuple[Any, ...], seed: int, progress: SeedProgress | None) -> TrainingResult:
    operators, targets, pseudotime, prior, config = inputs
    listener = None if progress is None else (lambda epoch, total, loss: progress(seed, epoch, total, loss))
    return train(operators, targets, pseudotime, prior, config, seed, listener)


_inputs: tuple[Any, ...] = ()  # set once in each worker, so that the data travel once per worker and not per seed


def _start(inputs: tuple[Any, ...]) -> None:
    global _inputs
    _inputs = inputs
    end_with_parent()  # else a killed step would leave them to train for nobody


def _work(seed: int, queue: Any) -> TrainingResult:
    return _train_one(_inputs, seed, lambda *news: queue.put(news))


def _forward(queue: Any, progress: SeedProgress | None) -> None:
    while True:
        try:
            news = queue.get_nowait()
        except Empty:
            return
        if progress is not None:
            progress(*news)
