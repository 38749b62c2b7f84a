"""What a stage tells OpenLineage: the datasets that it read and wrote, with the lineage of their columns where it is known.

Airflow's OpenLineage provider (the extra ``lineage``) asks for it when it is on; nothing of it is imported before. A snapshot is the
Iceberg table with its version, a source is its path or query, a model is its bundle, a registered version is a model in MLflow.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from windtunnel.lifecycle.contract.problem import Problem
from windtunnel.lifecycle.contract.stages import Stage
from windtunnel.lifecycle.payload import JsonMapping, JsonObject

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset

    from windtunnel.lifecycle.contract.settings import Settings

__all__ = ["DATA_SETS", "NO_DATA_SETS", "lineage_of"]

_MODEL_OUTPUT = "prediction"
_PLACES = {
    "statistics": "uri",
    "features": "uri",
    "candidate": "uri",
    "evaluation": "uri",
    "validation": "uri",
    "monitor": "report",
    "lookup": "uri",
}
DATA_SETS = frozenset({*_PLACES, "snapshot", "version", "deployment", "feedback"})
"""Kinds of references that are data sets."""

NO_DATA_SETS = {
    "balance": "a choice",
    "decision": "an entry of the ledger, which tells of it itself",
    "trials": "parameters: they are in the candidate's lineage",
}
"""Kinds of references that are none, and why."""


def lineage_of(
    row: Stage, problem: Problem, settings: "Settings", given: Iterable[object], output: JsonMapping | None
) -> "OperatorLineage[Any, Any]":
    """The datasets of one stage.

    Args:
        row: the stage: what it reads and writes beside its references.
        problem: whose.
        settings: where things are.
        given: the references that went in, as plain data; other values are passed over.
        output: the reference that came out, or None.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    known = [value for value in given if isinstance(value, Mapping) and value.get("kind")]
    inputs = [dataset for value in known for dataset in _datasets(problem, settings, value, output=False)]
    inputs += [_beside(problem, settings, name, output=False) for name in row.reads]
    outputs: list[Any] = []
    if output:
        outputs = _datasets(problem, settings, output, output=True)
        fields = _columns(problem, settings, known, output)
        for dataset in outputs:
            dataset.facets |= fields
        outputs += [_beside(problem, settings, name, output=True) for name in row.writes]
    return OperatorLineage(inputs=inputs, outputs=outputs)


def _beside(problem: Problem, settings: "Settings", name: str, *, output: bool) -> object:
    """A data set that no reference names: the problem's source, or one of its tables."""
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    if name == "source":
        return _source(problem, settings)
    return (OutputDataset if output else InputDataset)(_place(settings.catalog_uri)[0], f"{problem.name}.{name}")


def _datasets(problem: Problem, settings: "Settings", value: JsonMapping, *, output: bool) -> list[Any]:
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset, schema_dataset

    kind = value["kind"]
    facets: JsonObject = {}
    statistics: JsonObject = {}
    if kind == "snapshot":
        namespace, name = _place(settings.catalog_uri)[0], str(value["table"])
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(str(value["snapshot_id"]))
        columns = [schema_dataset.SchemaDatasetFacetFields(column, kind) for column, kind in problem.columns.items()]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(columns)
        statistics["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=int(value["rows"]))
    elif kind == "version":
        namespace, name = _place(settings.tracking_uri)[0], f"models/{value['model']}"
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(str(value["version"]))
    elif kind == "deployment":
        namespace, name = _place(settings.server_url)[0], f"models/{problem.name}"
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(str(value["version"]))
        if not value.get("deployed", True):
            return []
    elif kind == "feedback":
        namespace, name = _place(settings.catalog_uri)[0], str(value["table"])
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(str(value["fingerprint"]))
    elif kind in _PLACES:
        namespace, name = _place(str(value[_PLACES[kind]]))
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(str(value["fingerprint"]))
    else:
        return []
    if output:
        return [OutputDataset(namespace, name, outputFacets=statistics, facets=facets)]
    return [InputDataset(namespace, name, facets=facets)]


def _source(problem: Problem, settings: "Settings") -> "InputDataset":
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import schema_dataset

    namespace, name = _source_name(problem, settings)
    columns = [schema_dataset.SchemaDatasetFacetFields(column, kind) for column, kind in problem.columns.items()]
    return InputDataset(namespace, name, facets={"schema": schema_dataset.SchemaDatasetFacet(columns)})


def _source_name(problem: Problem, settings: "Settings") -> tuple[str, str]:
    """Namespace and name of a problem's source; a path keeps its ``{day}``: the days are one dataset."""
    source = problem.source
    if source.format == "python":
        return "python", source.generator or ""
    if source.format == "iceberg":
        return _place(settings.catalog_uri)[0], source.table or ""
    if source.format == "sql":
        return f"connection://{source.connection}", source.table or source.query or ""
    return _place(source.path.replace("{landing}", settings.landing.rstrip("/")))


def _columns(problem: Problem, settings: "Settings", given: list[Mapping[str, object]], output: JsonMapping) -> JsonObject:
    """Which input columns each output column comes from: the source's for a snapshot, the snapshot's for features and models."""
    from openlineage.client.facet_v2 import column_lineage_dataset as facet

    def field(namespace: str, name: str, column: str, kind: str, what: str) -> Any:
        return facet.InputField(namespace, name, column, [facet.Transformation(kind, what)])

    fields: JsonObject = {}
    if output["kind"] == "snapshot":
        place = _source_name(problem, settings)
        fields = {column: facet.Fields([field(*place, column, "DIRECT", "IDENTITY")]) for column in problem.columns}
    snapshot = next((value for value in given if value["kind"] == "snapshot"), None)
    if snapshot is not None and output["kind"] in {"features", "candidate"}:
        place = (_place(settings.catalog_uri)[0], str(snapshot["table"]))
        columns = problem.features.columns or [column for column in problem.columns if column != problem.label.column]
        if output["kind"] == "features":
            fields = {column: facet.Fields([field(*place, column, "DIRECT", "TRANSFORMATION")]) for column in columns}
        else:
            inputs = [field(*place, column, "DIRECT", "TRANSFORMATION") for column in columns]
            inputs.append(field(*place, problem.label.column, "INDIRECT", "CONDITIONAL"))
            fields = {_MODEL_OUTPUT: facet.Fields(inputs)}
    return {"columnLineage": facet.ColumnLineageDatasetFacet(fields)} if fields else {}


def _place(uri: str) -> tuple[str, str]:
    """Namespace and name of a URI by OpenLineage's naming: scheme and authority, then the path; never a user or a password."""
    if "://" not in uri:
        return "file", uri
    parts = urlsplit(uri)
    if parts.scheme in {"file", "sqlite"}:
        return "file", parts.path
    host = parts.hostname or ""
    authority = f"{host}:{parts.port}" if parts.port else host
    return f"{parts.scheme.split('+')[0]}://{authority}", parts.path.lstrip("/")
