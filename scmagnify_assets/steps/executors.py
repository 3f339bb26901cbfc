"""Where steps run: chosen by the environment, never by editing code.

============================  ==========================================================================
``SCMAGNIFY_EXECUTOR``        ``multiprocess`` (default), ``in_process``, ``ray`` or ``kubernetes``
``SCMAGNIFY_MAX_CONCURRENT``  steps of one run at a time: 2 as processes, unbounded on Kubernetes; Ray and
                              in_process do not look at it
``SCMAGNIFY_TRAINING_GPUS``   GPUs of the step that trains; 0 by default, because a cluster without GPUs
                              would leave the step pending for ever
``SCMAGNIFY_NEEDS``           what single assets need, as JSON: ``{"scmagnify_model": {"memory_gib": 16}}``
``SCMAGNIFY_CORES``           cores that a step computes on: all it sees by default; Ray and Kubernetes set it
                              to what the step needs
============================  ==========================================================================

An asset declares its `Needs` once; `op_tags` says them in the words of every executor that places steps on machines.
Where runs are launched is a matter of ``dagster.yaml`` (``deploy/``), which must name the launcher of the same kind.
The environment must be the same where the code is loaded, where runs run and where steps run.
"""

import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import dagster as dg

from scmagnify_assets.steps.processes import threads_of
from scmagnify_core.errors import InputError, shorten

EXECUTOR = "SCMAGNIFY_EXECUTOR"
MAX_CONCURRENT = "SCMAGNIFY_MAX_CONCURRENT"
TRAINING_GPUS = "SCMAGNIFY_TRAINING_GPUS"
NEEDS = "SCMAGNIFY_NEEDS"
RAY_ADDRESS = "SCMAGNIFY_RAY_ADDRESS"  # read by deploy/ray/dagster.yaml; Ray means something else by RAY_ADDRESS

# What a step on another machine of a Ray cluster has to be told. No secrets: Ray shows a job's environment to whoever
# sees its dashboard, so those belong into the environment in which each node was started (deploy/ray).
FORWARDED = ("SCMAGNIFY_HOME", "DAGSTER_HOME", EXECUTOR, MAX_CONCURRENT, TRAINING_GPUS, NEEDS, RAY_ADDRESS)

MIB = 2**20


@dataclass(frozen=True)
class Needs:
    """What a step needs of a machine.

    ``cpus`` and ``gpus`` may be fractions (steps then share one). A step that is placed by its needs computes on as
    many threads as it has whole cores, on one at least. ``memory_gib`` is reserved on Ray; on Kubernetes it is also the
    limit, beyond which the step is killed.
    """

    cpus: float = 1
    memory_gib: float = 2
    gpus: float = 0


def training_needs() -> Needs:
    """What training needs: as many GPUs as the environment says.

    Raises
    ------
    InputError
        The variable holds no number, or a negative one.
    """
    gpus = _number(TRAINING_GPUS, os.environ.get(TRAINING_GPUS) or 0)
    return Needs(memory_gib=4, gpus=gpus)


def needs_of(asset: str, declared: Needs | None = None) -> Needs:
    """What this asset needs: as declared, with what ``SCMAGNIFY_NEEDS`` says of it over that.

    Raises
    ------
    InputError
        The variable is no JSON of the form ``{asset: {need: number}}``.
    """
    given = _given().get(asset, {})
    known = [field.name for field in fields(Needs)]
    if unknown := [name for name in given if name not in known]:
        raise InputError(f"{NEEDS}, '{asset}'", f"has no need {shorten(unknown)}.", f"Needs: {', '.join(known)}.")
    return replace(
        declared or Needs(), **{name: _number(f"{NEEDS}, '{asset}', {name}", value) for name, value in given.items()}
    )


def refuse_unknown_assets(assets: Collection[str]) -> None:
    """Refuse needs of an asset that does not exist: misspelt, they would be missed only when memory runs out.

    Raises
    ------
    InputError
        ``SCMAGNIFY_NEEDS`` names another asset than these.
    """
    if unknown := [name for name in _given() if name not in assets]:
        raise InputError(NEEDS, f"names {shorten(unknown)}, which are no assets.", f"Assets: {', '.join(assets)}.")


def op_tags(needs: Needs) -> dict[str, Any]:
    """Tags of an asset's step for the executors of Ray and Kubernetes; the others do not look at them.

    On Kubernetes memory is requested and limited alike, so that a step is never promised what the node has not. Cores
    are only requested: a limit would throttle while the node idles. GPUs are devices there, so a fraction takes one.
    Neither keeps a step to its cores, so the step is told of them.
    """
    memory, threads = round(needs.memory_gib * 1024), threads_of(needs.cpus)
    ray: dict[str, Any] = {
        "num_cpus": needs.cpus, "memory": memory * MIB, "runtime_env": {"env_vars": threads}
    }  # fmt: skip
    limits: dict[str, Any] = {"memory": f"{memory}Mi"}
    if needs.gpus:
        ray["num_gpus"] = needs.gpus
        limits["nvidia.com/gpu"] = str(math.ceil(needs.gpus))
    requests = {"cpu": f"{round(needs.cpus * 1000)}m", "memory": f"{memory}Mi"}
    container = {
        "resources": {"requests": requests, "limits": limits},
        "env": [{"name": name, "value": value} for name, value in threads.items()],
    }
    return {"dagster-ray/config": ray, "dagster-k8s/config": {"container_config": container}}


def executor() -> dg.ExecutorDefinition:
    """Make the executor that the environment names.

    Raises
    ------
    InputError
        It names none of those there are, the package of the one it names is not installed, or the number of steps at
        a time is no positive integer.
    """
    name = os.environ.get(EXECUTOR) or "multiprocess"
    if name not in EXECUTORS:
        raise InputError(f"{EXECUTOR}={name}", "is no executor.", f"Choose one of {', '.join(EXECUTORS)}.")
    return EXECUTORS[name]()


# What the server that steps are forked from imports, see there.
PRELOADED = ("scmagnify_assets.service.preload",)


def _multiprocess() -> dg.ExecutorDefinition:
    # Each step gets a process, and every asset and its checks are a step. Spawned, each would first import for seconds;
    # forked from a server that has imported once, it starts at once. The server only imports: nothing there opens a
    # lake (the threads of Delta's runtime would not survive the fork) or touches CUDA (nor would its context).
    start = {"forkserver": {"preload_modules": list(PRELOADED)}}
    return dg.multiprocess_executor.configured({"max_concurrent": _max_concurrent() or 2, "start_method": start})


def _in_process() -> dg.ExecutorDefinition:
    return dg.in_process_executor


def _ray() -> dg.ExecutorDefinition:
    """Each step as a Ray job; Ray queues it until a node has what it needs.

    The executor's own numbers of cores and GPUs would override those of every step (dagster-ray 0.4.8), so it has
    none.
    """
    try:
        from scmagnify_assets.steps.ray_steps import EXECUTOR as RAY_EXECUTOR
    except ImportError as error:
        raise _not_installed("ray") from error
    return RAY_EXECUTOR.configured({"ray": {"env_vars": list(FORWARDED)}})


def _kubernetes() -> dg.ExecutorDefinition:
    """Each step as a Kubernetes job, in the image of the code location and with what the launcher mounts."""
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise _not_installed("kubernetes") from error
    at_once = _max_concurrent()
    return k8s_job_executor.configured({} if at_once is None else {"max_concurrent": at_once})


EXECUTORS: Mapping[str, Callable[[], dg.ExecutorDefinition]] = {
    "multiprocess": _multiprocess,
    "in_process": _in_process,
    "ray": _ray,
    "kubernetes": _kubernetes,
}


def _not_installed(name: str) -> InputError:
    return InputError(
        f"{EXECUTOR}={name}", "needs packages that are not installed.", f"pip install 'scmagnify-platform[{name}]'"
    )


def _max_concurrent() -> int | None:
    given = os.environ.get(MAX_CONCURRENT)
    if not given:
        return None
    if not given.isdecimal() or int(given) < 1:
        raise InputError(f"{MAX_CONCURRENT}={given}", "is no positive integer.", f"Say, {MAX_CONCURRENT}=2.")
    return int(given)


def _number(culprit: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"{culprit}={value}", "is no number of at least 0.", "Say, 1.")
    return int(number) if number.is_integer() else number


def _given() -> dict[str, dict[str, Any]]:
    text = os.environ.get(NEEDS) or "{}"
    try:
        given = json.loads(text)
    except json.JSONDecodeError:
        given = None
    if not isinstance(given, dict) or not all(isinstance(one, dict) for one in given.values()):
        raise InputError(
            f"{NEEDS}={text}",
            "is not JSON of needs by asset.",
            f'Say, {NEEDS}=\'{{"scmagnify_model": {{"gpus": 1}}}}\'.',
        )
    return given
