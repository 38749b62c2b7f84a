"""The commands: one row each, from which help, parser, completion and the choice of the instance are made."""

from dataclasses import dataclass

__all__ = ["COMMANDS", "Command"]


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        module: has ``add_arguments(parser)`` and ``run(arguments) -> int``; imported only when the command is called.
        text: what it does, in one line.
        group: the heading that it stands under in the help.
        examples: command lines without ``windtunnel``.
        instance: it asks an instance: it gets ``--home`` (see `windtunnel.cli.instance.resolve`).
        output: what it prints can go to a file: it gets ``-o`` (others have one of their own, or run until stopped).
    """

    module: str
    text: str
    group: str
    examples: tuple[str, ...] = ()
    instance: bool = False
    output: bool = True


_INSTANCE, _DATA, _MODELS, _RECORD = "the embedded instance", "data", "models", "the record of decisions"

COMMANDS: dict[str, Command] = {
    "up": Command(
        "windtunnel.cli.running.up",
        "start or repair the embedded instance",
        _INSTANCE,
        ("up", "up --home /srv/windtunnel --dags ./dags"),
        instance=True,
        output=False,
    ),
    "down": Command("windtunnel.cli.running.down", "stop the embedded instance", _INSTANCE, ("down",), instance=True, output=False),
    "status": Command(
        "windtunnel.cli.running.status",
        "say which services run, where, and whether they are well",
        _INSTANCE,
        ("status", "status --json"),
        instance=True,
    ),
    "logs": Command(
        "windtunnel.cli.running.logs",
        "show the services' logs",
        _INSTANCE,
        ("logs scheduler --lines 20", "logs server --follow"),
        instance=True,
        output=False,
    ),
    "env": Command(
        "windtunnel.cli.running.env",
        "print the exports that make other commands work against the embedded instance",
        _INSTANCE,
        ('env                  # as in: eval "$(windtunnel env)"',),
        instance=True,
    ),
    "demo": Command(
        "windtunnel.cli.running.demo",
        "run the main job on real flights and show what came of it",
        _INSTANCE,
        ("demo", "demo --canary --home /tmp/canary"),
        instance=True,
    ),
    "profile": Command(
        "windtunnel.cli.data.profile",
        "statistics of data, as text, JSON or a report",
        _DATA,
        ("profile people.csv", "profile 'data/*.parquet' --json -o people.json --html people.html", "profile flight_delays.examples"),
        instance=True,
    ),
    "compare": Command(
        "windtunnel.cli.data.compare",
        "drift between two sets of data",
        _DATA,
        ("compare last_week.parquet this_week.parquet --fail", "compare a.csv b.csv --json -o drift.json"),
        instance=True,
    ),
    "quality": Command(
        "windtunnel.cli.data.quality",
        "the quality of a problem's data, day by day",
        _DATA,
        ("quality flight_delays", "quality flight_delays --days 90 --json", "quality flight_delays --html quality.html"),
        instance=True,
    ),
    "infer-suite": Command(
        "windtunnel.cli.data.infer_suite",
        "propose a Great Expectations suite from data",
        _DATA,
        ("infer-suite people.parquet -o people.suite.json",),
        output=False,
    ),
    "validate": Command(
        "windtunnel.cli.data.validate",
        "run a Great Expectations suite over data of any size",
        _DATA,
        ("validate --suite people.suite.json people.parquet", "validate --suite people.suite.json 'data/*.parquet' --json -o result.json"),
    ),
    "features": Command(
        "windtunnel.cli.data.features",
        "fit and apply scikit-learn preprocessing over data of any size",
        _DATA,
        ("features people.parquet --transformer prepare:build --label income -o features",),
        output=False,
    ),
    "label": Command(
        "windtunnel.cli.data.label",
        "add labels that people gave",
        _DATA,
        ("label dags/problems/flight_delays.yaml labels.csv --by ada",),
        instance=True,
    ),
    "check": Command(
        "windtunnel.cli.data.check",
        "find all that could be wrong with problem files, before Airflow sees them",
        _DATA,
        ("check problems/*.yaml", "check problems/churn.yaml --data"),
    ),
    "schema": Command(
        "windtunnel.cli.data.schema",
        "print the JSON Schema of a problem file",
        _DATA,
        ("schema -o problem.schema.json", "schema --infer people.csv"),
        instance=True,
    ),
    "serve": Command(
        "windtunnel.cli.models.serve",
        "run the model server",
        _MODELS,
        ("serve --home /srv/models --port 8090 --grpc-port 8091",),
        output=False,
    ),
    "routes": Command(
        "windtunnel.cli.models.routes",
        "show or change who answers a model's requests; say whether an experiment may be decided",
        _MODELS,
        ("routes flight_delays", "routes flight_delays --arm champion=0.9 --arm canary=0.1", "routes flight_delays --reset"),
        instance=True,
    ),
    "predict": Command(
        "windtunnel.cli.models.predict",
        "score data of any size with a model",
        _MODELS,
        ("predict artifacts/flight_delays/train/BUNDLE 'data/*.parquet' -o answers --keep flight",),
        output=False,
    ),
    "ledger": Command(
        "windtunnel.cli.record.ledger",
        "list, verify and question the record of decisions",
        _RECORD,
        ("ledger", "ledger verify", "ledger at --problem flight_delays --time 2026-01-31", "ledger list --kind promotion --json"),
        instance=True,
    ),
    "lineage": Command(
        "windtunnel.cli.record.lineage",
        "what a model was made from, and which models a snapshot went into",
        _RECORD,
        ("lineage flight_delays", "lineage --day 2013-06-01"),
        instance=True,
    ),
    "rollback": Command(
        "windtunnel.cli.record.rollback",
        "make an earlier version the champion again",
        _RECORD,
        ('rollback flight_delays --reason "precision fell"', 'rollback flight_delays --to 3 --reason "known to be good"'),
        instance=True,
    ),
    "replay": Command(
        "windtunnel.cli.record.replay",
        "compute a past run again and compare every fingerprint",
        _RECORD,
        ("replay manual__2026-01-31", "replay manual__2026-01-31 --stages profile,train"),
        instance=True,
    ),
    "diff": Command(
        "windtunnel.cli.record.diff",
        "say what differs between two runs",
        _RECORD,
        ("diff manual__2026-01-30 manual__2026-01-31",),
        instance=True,
    ),
    "gc": Command(
        "windtunnel.cli.record.gc",
        "remove what nobody needs any more, by the rules of the problem files",
        _RECORD,
        ("gc dags/problems --dry-run", "gc dags/problems/flight_delays.yaml"),
        instance=True,
    ),
    "completion": Command(
        "windtunnel.cli.completion",
        "print what makes a shell complete commands and options",
        "the shell",
        (
            'completion bash      # as in: eval "$(windtunnel completion bash)"',
            "completion fish -o windtunnel.fish",
        ),
    ),
}
