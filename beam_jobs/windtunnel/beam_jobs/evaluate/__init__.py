"""Evaluate: what a candidate is worth, beside the champion and a simple baseline, on the same held-out rows, in one pass.

``python -m windtunnel.beam_jobs.evaluate --spec SPEC --result RESULT`` runs it alone; the spec is what `run` says.
"""

from windtunnel.beam_jobs.evaluate.again import judge_again
from windtunnel.beam_jobs.evaluate.evaluating import evaluate, run
from windtunnel.beam_jobs.evaluate.would import settle, would_evaluate

__all__ = ["evaluate", "judge_again", "run", "settle", "would_evaluate"]
