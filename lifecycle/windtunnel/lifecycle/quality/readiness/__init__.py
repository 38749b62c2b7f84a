"""Readiness: what a data team wants to know on the first day about data that a model is to learn from.

A list of questions, each a function of a `Subject` that answers with `Answer`s; the verdict is that of the gravest.
"""

from windtunnel.lifecycle.quality.readiness.answer import Answer, Readiness
from windtunnel.lifecycle.quality.readiness.assess import assess
from windtunnel.lifecycle.quality.readiness.profiled import subject_of
from windtunnel.lifecycle.quality.readiness.subject import Subject

__all__ = ["Answer", "Readiness", "Subject", "assess", "subject_of"]
