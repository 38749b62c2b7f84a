"""``windtunnel replay``: compute a past run again from its manifest, in a place of its own, and compare every fingerprint.

Production is not touched: rows are ingested into a fresh catalog, artefacts and MLflow's records go to a temporary folder. Which stages can
be computed again, and why others are not, is in the list of stages (`windtunnel.lifecycle.contract.stages`).
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
from windtunnel.lifecycle.contract.fingerprint import fingerprint
from windtunnel.lifecycle.contract.stages import STAGES, Stage

if TYPE_CHECKING:
    from windtunnel.lifecycle.contract.references import Reference
    from windtunnel.lifecycle.contract.settings import Settings
    from windtunnel.lifecycle.payload import JsonObject
    from windtunnel.lifecycle.record.comparing import StageComparison
    from windtunnel.lifecycle.record.manifest import Manifest, StageRecord

__all__ = ["add_arguments", "replay", "run"]


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
    wanted = list(filter(None, map(str.strip, arguments.stages.split(","))))
    say: Callable[[str], None] = (lambda _: None) if arguments.json else (lambda text: print(text, flush=True))
    say(f"run {manifest.run_id} of {manifest.problem}")
    found = replay(manifest, settings, wanted, say)
    differing = [stage for stage in found if not stage.same]
    if arguments.json:
        print(json.dumps([dataclasses.asdict(stage) for stage in found], indent=2, default=str))
    elif differing:
        causes = "; ".join(map(str, differing[0].causes)) or "nothing that went in has changed: the stage is not deterministic"
        say(f"the first stage that differs is {differing[0].stage}: {causes}")
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
    compared = []
    with tempfile.TemporaryDirectory(prefix="wt-replay-") as folder:
        again = _Again(manifest, settings, Path(folder))
        for record in manifest.ordered:
            if wanted and record.stage not in wanted:
                continue
            row = _row(record)
            if row is None or row.not_replayed:
                say(f"  -       {record.stage:<11} {row.not_replayed if row else 'no stage of ours'}")
                continue
            stage = _compared(again, row, record)
            compared.append(stage)
            say(f"  {'same   ' if stage.same else 'DIFFERS'} {record.stage:<11} {record.fingerprint[:12]}  {stage.after[:12]}")
            for difference in [*stage.causes, *stage.outcome]:
                say(f"          {difference}")
    return compared


def _row(record: "StageRecord") -> Stage | None:
    return next((row for row in STAGES if row.name == (record.kind or record.stage)), None)


def _compared(again: "_Again", row: Stage, record: "StageRecord") -> "StageComparison":
    """One stage computed again, beside what is recorded."""
    from windtunnel.lifecycle.contract.errors import WindtunnelError
    from windtunnel.lifecycle.data.expiry import notes_of
    from windtunnel.lifecycle.record.comparing import Difference, StageComparison, compare
    from windtunnel.lifecycle.record.manifest import Manifest, environment

    try:
        output = again.stage(row, record)
    except (WindtunnelError, FileNotFoundError) as error:
        # What it needs may have expired: then the note says when, and by which rule.
        gone = notes_of(again.settings, again.manifest.problem, [record.inputs, record.output])
        why = "; ".join(gone) or " ".join(str(error).split())
        cause = Difference("data", f"could not be computed again: {why}", "", "")
        return StageComparison(record.stage, False, record.fingerprint, "", [cause], [])
    now = dataclasses.replace(record, inputs=again.inputs(row, record), output=output.to_dict(), environment=environment())
    manifest = again.manifest
    one, other = (Manifest(manifest.problem, manifest.run_id, {record.stage: entry}) for entry in (record, now))
    (compared,) = compare(one, other)
    return compared


class _Again:
    """The stages, computed in a folder of their own."""

    def __init__(self, manifest: "Manifest", settings: "Settings", folder: Path) -> None:
        self.manifest, self.settings, self.folder = manifest, settings, folder
        self.apart = dataclasses.replace(
            settings,
            artifacts=str(folder / "artifacts"),
            tracking_uri=f"sqlite:///{folder}/mlflow.db",
            ledger_uri=f"sqlite:///{folder}/ledger.db",
        )
        self.computed: dict[str, Reference] = {}  # by the fingerprint of what the stage had handed on then

    def stage(self, row: Stage, record: "StageRecord") -> "Reference":
        """What a stage leaves behind this time."""
        from windtunnel.beam_jobs.stages import Past
        from windtunnel.lifecycle.contract.problem import parse
        from windtunnel.lifecycle.contract.references import of_kind
        from windtunnel.lifecycle.contract.run import Run

        run = Run(dag_id="windtunnel replay", run_id=self.manifest.run_id)
        inputs = self.inputs(row, record)
        values: JsonObject = {
            name: of_kind(kind).from_dict(inputs[name]) for name, kind in row.takes.items() if inputs.get(name) is not None
        }
        if row.replayed == row.name:
            values |= {name: inputs[name] for name in row.options if inputs.get(name)}
        else:
            values["past"] = Past(record, self.settings, self.folder)
        output: Reference = row.function(row.replayed)(RunContext(parse(record.problem), self.apart, run), **values)
        self.computed[fingerprint(record.output)] = output
        return output

    def inputs(self, row: Stage, record: "StageRecord") -> dict[str, Any]:
        """What went in this time: where an earlier stage was computed again, what it gave; the rows stay those of the recorded snapshot."""
        known = dict(record.inputs)
        for name, kind in row.takes.items():
            again = self.computed.get(fingerprint(known.get(name)))
            if again is not None and kind != "snapshot":
                known[name] = again.to_dict()
        return known
