"""``windtunnel replay``: compute a past run again from its manifest, in a place of its own, and compare every fingerprint.

Production is not touched: rows are ingested into a fresh catalog, artefacts and MLflow's records go to a temporary folder. Searches in
parallel are not deterministic, so the recorded winner is trained again. Approval, registration and deployment are decisions: they are not
taken again, the ledger has them.
"""

import argparse
import dataclasses
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.lifecycle.contract.context import RunContext

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.problem import Problem
    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.record.comparing import StageComparison
    from windtunnel.lifecycle.record.manifest import Manifest, StageRecord
    from windtunnel.lifecycle.record.registry import Champion

__all__ = ["add_arguments", "replay", "run"]

_DECISIONS = frozenset({"approve", "register", "deploy"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The run."""
    parser.add_argument("run", help="a run id, or the beginning of one")
    parser.add_argument("--problem", default="", help="look only among this problem's runs")
    parser.add_argument("--stages", default="", help="only these, separated by commas (default: all that can be computed again)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Replay; exit status 0 if every fingerprint is equal, 2 if one differs."""
    from windtunnel.cli.instance.resolve import command_settings
    from windtunnel.lifecycle.record.manifest import find

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    settings = command_settings(arguments)
    manifest = find(settings, arguments.run, arguments.problem)
    wanted = [name.strip() for name in arguments.stages.split(",") if name.strip()]
    say: Callable[[str], None] = (lambda _: None) if arguments.json else (lambda text: print(text, flush=True))
    say(f"run {manifest.run_id} of {manifest.problem}")
    found = replay(manifest, settings, wanted, say)
    differing = [stage for stage in found if not stage.same]
    if arguments.json:
        print(json.dumps([dataclasses.asdict(stage) for stage in found], indent=2, default=str))
    elif differing:
        first = differing[0]
        causes = "; ".join(str(cause) for cause in first.causes) or "nothing that went in has changed: the stage is not deterministic"
        say(f"the first stage that differs is {first.stage}: {causes}")
    else:
        say(f"all {len(found)} stages gave the same")
    return 2 if differing else 0


def replay(
    manifest: "Manifest", settings: "Settings", wanted: list[str] | None = None, say: Callable[[str], None] = print
) -> list["StageComparison"]:
    """Compute the stages of a run again and compare each with what is recorded.

    Args:
        manifest: the run.
        settings: where the recorded rows are.
        wanted: only these stages.
        say: is told about each stage as it ends.
    """
    from windtunnel.lifecycle.contract.errors import WindtunnelError
    from windtunnel.lifecycle.record.comparing import Difference, StageComparison, compare
    from windtunnel.lifecycle.record.manifest import Manifest, StageRecord, environment

    found = []
    with tempfile.TemporaryDirectory(prefix="wt-replay-") as folder:
        again = _Again(manifest, settings, Path(folder))
        for record in manifest.ordered:
            if (wanted and record.stage not in wanted) or record.stage in _DECISIONS or record.stage == "tune":
                continue
            try:
                output = again.stage(record)
            except WindtunnelError as error:
                cause = Difference("data", "could not be computed again", "", str(error).replace("\n", " "))
                compared = StageComparison(record.stage, False, record.fingerprint, "", [cause], [])
            else:
                if output is None:
                    continue
                now = StageRecord(
                    record.stage, again.inputs(record), output.to_dict(), environment(), record.run, record.at, record.problem
                )
                one, other = (Manifest(manifest.problem, manifest.run_id, {record.stage: entry}) for entry in (record, now))
                (compared,) = compare(one, other)
            found.append(compared)
            say(f"  {'same   ' if compared.same else 'DIFFERS'} {record.stage:<11} {record.fingerprint[:12]}  {compared.after[:12]}")
            for difference in [*compared.causes, *compared.outcome]:
                say(f"          {difference}")
    return found


class _Again:
    """The stages, computed in a folder of their own."""

    def __init__(self, manifest: "Manifest", settings: "Settings", folder: Path) -> None:
        self.manifest, self.settings, self.folder = manifest, settings, folder
        self.fresh = dataclasses.replace(
            settings,
            artifacts=str(folder / "artifacts"),
            tracking_uri=f"sqlite:///{folder}/mlflow.db",
            ledger_uri=f"sqlite:///{folder}/ledger.db",
            studies_uri="",
        )
        self.made: dict[str, Reference] = {}

    def stage(self, record: "StageRecord") -> "Reference | None":
        """What a stage leaves behind this time; None for one that is not known here."""
        from windtunnel.lifecycle.contract.problem import parse

        call = {
            "ingest": self._ingest,
            "profile": self._profile,
            "validate": self._validate,
            "preprocess": self._preprocess,
            "train": self._train,
            "evaluate": self._evaluate,
        }.get(record.stage)
        if call is None:
            return None
        made = call(parse(record.problem), record)
        self.made[record.stage] = made
        return made

    def inputs(self, record: "StageRecord") -> dict[str, Any]:
        """What went in this time: where an earlier stage was computed again, what it gave."""
        found = dict(record.inputs)
        for name, stage in (("features", "preprocess"), ("candidate", "train"), ("statistics", "profile")):
            if name in found and stage in self.made:
                found[name] = self.made[stage].to_dict()
        return found

    def _ingest(self, problem: "Problem", record: "StageRecord") -> "Reference":
        from windtunnel.beam_jobs.ingest import ingest
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.lifecycle.contract.window import Window
        from windtunnel.lifecycle.data.snapshots import pin

        window = Window.from_dict(record.output)
        if record.inputs.get("data_version"):
            return pin(problem, window, self.settings, str(record.inputs["data_version"]))
        apart = dataclasses.replace(self.fresh, catalog_uri=f"sqlite:///{self.folder}/catalog.db", warehouse=str(self.folder / "warehouse"))
        return ingest(problem, window, apart, Progress("ingest"))

    def _profile(self, problem: "Problem", record: "StageRecord") -> "Reference":
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.beam_jobs.profile import profile
        from windtunnel.lifecycle.contract.references import SnapshotRef, StatisticsRef

        given = record.inputs.get("reference")
        reference = StatisticsRef.from_dict(given) if given else None
        return profile(problem, SnapshotRef.from_dict(record.inputs["snapshot"]), self.fresh, Progress("profile"), reference)

    def _validate(self, problem: "Problem", record: "StageRecord") -> "Reference":
        from windtunnel.beam_jobs.expectations import validate
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.lifecycle.contract.references import SnapshotRef, StatisticsRef

        given = self.inputs(record).get("statistics")
        statistics = StatisticsRef.from_dict(given) if given else None
        return validate(problem, SnapshotRef.from_dict(record.inputs["snapshot"]), statistics, self.fresh, Progress("validate"))

    def _preprocess(self, problem: "Problem", record: "StageRecord") -> "Reference":
        from windtunnel.beam_jobs.features import preprocess
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.lifecycle.contract.references import SnapshotRef

        return preprocess(problem, SnapshotRef.from_dict(record.inputs["snapshot"]), self.fresh, Progress("preprocess"))

    def _train(self, problem: "Problem", record: "StageRecord") -> "Reference":
        from windtunnel.lifecycle.contract.references import FeaturesRef, SnapshotRef, TrialsRef
        from windtunnel.lifecycle.contract.run import Run
        from windtunnel.lifecycle.learning.training import train

        given = self.inputs(record)
        trials = TrialsRef.from_dict(given["trials"]) if given.get("trials") else None
        snapshot, features = SnapshotRef.from_dict(given["snapshot"]), FeaturesRef.from_dict(given["features"])
        return train(
            RunContext(problem, self.fresh, Run(dag_id="windtunnel replay", run_id=self.manifest.run_id)), snapshot, features, trials
        )

    def _evaluate(self, problem: "Problem", record: "StageRecord") -> "Reference":
        from windtunnel.beam_jobs.evaluate import evaluate
        from windtunnel.beam_jobs.job import Progress
        from windtunnel.lifecycle.contract.references import CandidateRef, EvaluationRef, SnapshotRef
        from windtunnel.lifecycle.judging.evaluation import load

        given = self.inputs(record)
        before = load(EvaluationRef.from_dict(record.output))
        return evaluate(
            problem,
            CandidateRef.from_dict(given["candidate"]),
            SnapshotRef.from_dict(given["snapshot"]),
            self.fresh,
            Progress("evaluate"),
            against=self._champion_then(before),
            uses=int(before["uses"]),
        )

    def _champion_then(self, before: dict[str, Any]) -> "Champion | None":
        from windtunnel.lifecycle.record.registry import champion_of_entry

        standing = before.get("champion")
        return champion_of_entry(self.settings, str(standing["entry"])) if standing else None
