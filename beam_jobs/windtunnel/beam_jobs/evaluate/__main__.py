"""The job's command line."""

from windtunnel.beam_jobs.evaluate.evaluating import run
from windtunnel.beam_jobs.job import main

main(run)
