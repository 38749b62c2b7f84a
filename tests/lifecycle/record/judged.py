"""Candidates with evaluations, taken through the stages without Beam; a module of its own, so that spawned processes can import it."""

import dataclasses
import json

from sklearn.dummy import DummyClassifier
from sklearn.pipeline import Pipeline

from windtunnel.lifecycle.contract.context import RunContext
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.references import CandidateRef, DecisionRef, EvaluationRef
from windtunnel.lifecycle.contract.run import Run
from windtunnel.lifecycle.contract.settings import Settings
from windtunnel.lifecycle.model import bundle as bundles
from windtunnel.lifecycle.record.champion import champion
from windtunnel.lifecycle.record.ledger import Ledger
from windtunnel.lifecycle.record.registration import register


@dataclasses.dataclass
class Shop:
    """Makes candidates with evaluations and takes them through the stages, without Beam."""

    settings: Settings
    problem: object
    folder: object

    def candidate(self, cutoff, inputs=("age", "plan"), **lineage):
        name = fingerprint(cutoff, inputs, lineage)
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir(parents=True)
            model = Pipeline([("model", DummyClassifier().fit([[0], [1]], [0, 1]))])
            columns = [bundles.Input(column, "int64", "int64") for column in inputs]
            manifest = bundles.Bundle("churn", "binary", ["no", "yes"], 0.5, columns, "left", cutoff, lineage=lineage)
            bundles.write(folder, manifest, model, {"inputs": [], "outputs": []})
        return CandidateRef("churn", str(folder), bundles.read(folder).digest, "", name, cutoff)

    def evaluate(self, candidate, value=0.9):
        """What `windtunnel.beam_jobs.evaluate` would leave behind: an evaluation against the champion of this moment."""
        present = champion(self.settings, "churn")
        entry = present.entry if present else ""
        name = fingerprint(candidate.fingerprint, entry, value)
        folder = self.folder / f"evaluation-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "evaluation.json").write_text(json.dumps({"champion": {"entry": entry}}))
        Ledger(self.settings).append("churn", "evaluation", {"value": value}, key=name)
        return EvaluationRef(str(folder), "", "auc", value, 0.5, None, True, [], name)

    def decide(self, evaluation, *, approved=True, by="gates"):
        entry = Ledger(self.settings).append("churn", "decision", {"approved": approved, "by": by}, key=evaluation.fingerprint)
        return DecisionRef(approved, by, "all gates passed", entry.hash)

    def register(self, candidate, run=None, by="gates"):
        evaluation = self.evaluate(candidate)
        return register(
            RunContext(self.problem, self.settings, run or Run("churn", "r1", "scheduled")),
            candidate,
            evaluation,
            self.decide(evaluation, by=by),
        )
