"""Options that say where runs go, and the pool they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from seqstate.pool import Pool, engines, open_pool


def add_engine_options(parser, *, jobs: int | None) -> None:
    """jobs: what --jobs is by default; None: 1 here, 0 on a cluster."""
    group = parser.add_argument_group("where runs go")
    told = "runs at a time; 0: one per processor core, on a cluster as many as fit"
    told += " (default 1, on a cluster 0)" if jobs is None else ""
    group.add_argument("--jobs", type=int, default=jobs, metavar="N", help=told)
    group.add_argument(
        "--backend",
        choices=engines(),
        default="loky",
        help='loky: processes here; ray, dask: a cluster too (pip install "seqstate[cluster]")',
    )
    group.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="of a running cluster: auto, HOST:PORT or ray://HOST:PORT for ray, tcp://HOST:PORT for dask; "
        "without it one is begun on this machine",
    )


@contextmanager
def pool_of(options, *, threads: int = 1) -> Iterator[Pool | None]:
    """The pool for runs of so many threads, closed at the end; None: runs go one by one in this process."""
    import os

    jobs, here = options.jobs, options.backend == "loky"
    if jobs is None:
        jobs = 1 if here else 0
    if jobs < 0:
        raise ValueError(f"--jobs {jobs} is below 0; 0 means as many as there is room for")
    if here and not options.cluster and (jobs or os.cpu_count()) == 1:
        yield None
        return
    with open_pool(options.backend, jobs=jobs, threads=threads, address=options.cluster) as pool:
        yield pool
