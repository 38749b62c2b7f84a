"""A suite over Parquet files: ``{"suite": PATH or object, "data": PATH or paths}`` in, Great Expectations' result out."""

from windtunnel.beam_jobs.expectations.job import run
from windtunnel.beam_jobs.job import main

main(run)
