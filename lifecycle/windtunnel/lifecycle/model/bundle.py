"""A bundle: a trained model as a folder of data, with a digest.

.. code-block:: text

    model.json       what it is: problem, task, classes, threshold, inputs, cut-off, lineage, and the SHA-256 of every other file
    pipeline.skops   the fitted scikit-learn pipeline, raw columns in, answer out
    samples.json     a few real input rows and the answers that the training environment gave for them
    plan/...         optional: the pipeline compiled for serving

Models are data, not code: a bundle is read only after every digest was checked, and its pipeline is rebuilt by skops from types of our
own allow-list, never from a list that the artefact brings along (GHSA-w582-9x45-8mpx).
"""

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from windtunnel.lifecycle.contract.errors import ConfigurationError, IntegrityError, UnsupportedError
from windtunnel.lifecycle.model import answers
from windtunnel.lifecycle.model.trusted import TRUSTED, trusted
from windtunnel.lifecycle.payload import JsonObject

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

__all__ = ["TRUSTED", "Bundle", "Input", "read", "read_pipeline", "read_samples", "seal", "settle", "trusted", "write"]

FORMAT = 1
_MANIFEST = "model.json"
_PIPELINE = "pipeline.skops"
_SAMPLES = "samples.json"
_SCHEMA = "schema.json"  # of a skops file


@dataclasses.dataclass(frozen=True)
class Input:
    """One input column of a model.

    Attributes:
        name: the raw column.
        type: its type in the problem file (``int64``, ``float64``, ``string``, ...).
        dtype: the pandas type that the pipeline was fitted with.
        required: whether null is refused.
    """

    name: str
    type: str
    dtype: str
    required: bool = False


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What model.json says.

    Attributes:
        problem: the problem's name.
        task: binary, multiclass, regression or anomaly.
        classes: class names in the order of the probabilities; empty for regression.
        threshold: the probability from which a binary answer is yes.
        inputs: the raw columns, in order.
        label: the label column.
        cutoff: the data cut-off, ISO.
        lineage: fingerprints and ids of what it was made from.
        options: the model's serving options, such as ``abstain_below`` and ``redact``.
        files: file name -> SHA-256 of every other file of the folder.
        label_type: the type that classes are answered in (`windtunnel.lifecycle.data.rows.class_type`); empty in bundles that were
            written before it was kept, and for regression: then classes are answered by their names.
    """

    problem: str
    task: str
    classes: list[str]
    threshold: float
    inputs: list[Input]
    label: str
    cutoff: str
    lineage: JsonObject = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    label_type: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 over the whole manifest, and so over every file."""
        return hashlib.sha256(_text(self).encode()).hexdigest()

    @property
    def dtypes(self) -> dict[str, str]:
        """Input column -> pandas type, for `windtunnel.lifecycle.data.frames.to_frame`."""
        return {column.name: column.dtype for column in self.inputs}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Self:
        """What model.json held."""
        if values.get("format") != FORMAT:
            raise ConfigurationError(f"a bundle of format {values.get('format')!r} cannot be read; this version reads format {FORMAT}")
        rest = {key: value for key, value in values.items() if key not in {"format", "inputs"}}
        try:
            return cls(**rest, inputs=[Input(**column) for column in values["inputs"]])
        except (TypeError, KeyError) as error:
            raise ConfigurationError(f"model.json is not a bundle's: {error}") from error


def write(folder: Path, bundle: Bundle, pipeline: "BaseEstimator", samples: dict[str, Any]) -> Bundle:
    """Write a bundle's files into a folder; answers the manifest with their digests.

    Args:
        folder: an empty folder.
        bundle: the manifest, its ``files`` not yet filled in.
        pipeline: the fitted scikit-learn pipeline.
        samples: ``{"inputs": [row, ...], "outputs": [answer, ...]}``.

    Raises:
        ConfigurationError: the pipeline holds a type that is not on the allow-list.
        UnsupportedError: it answers several things at once.
    """
    several = answers.outputs_of(pipeline)
    if several != 1:
        text = f"{bundle.problem}: the pipeline answers {several} things for each row but a bundle answers one"
        raise UnsupportedError(text, hint="train a model for each output")
    import skops.io

    skops.io.dump(pipeline, folder / _PIPELINE)
    settle(folder / _PIPELINE)
    # Asked of the file, not of the object: it is the file that readers will meet.
    unknown = sorted(set(skops.io.get_untrusted_types(file=folder / _PIPELINE)) - set(trusted()))
    if unknown:
        raise ConfigurationError(
            f"the pipeline holds types that a bundle may not hold: {unknown}",
            hint="models are data: use scikit-learn's own classes, or register them in a package's row (`trusted`)",
        )
    (folder / _SAMPLES).write_text(json.dumps(samples), encoding="utf-8")
    return seal(folder, bundle)


def _nodes(schema: Any) -> Iterator[JsonObject]:
    """The nodes of a skops schema in the order in which they stand; a vocabulary that has the word "file" is none."""
    waiting = [schema]
    while waiting:  # not recursion: trees nest deeply
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("__loader__"), str):
                yield node
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            waiting.extend(reversed(node))


def settle(path: Path) -> None:
    """Rewrite a skops file so that equal objects give equal bytes.

    skops names objects by their address in memory and stamps its entries with the time; here they are numbered in the order in which
    they appear, and the time is a constant. Without this no replay could give the same digest.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(entries.pop(_SCHEMA))
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    for node in _nodes(schema):
        if isinstance(node.get("__id__"), int):
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if isinstance(node.get("file"), str) and node["file"] in entries:
            node["file"] = names.setdefault(node["file"], f"{len(names) + 1}{Path(node['file']).suffix}")
    temporary = path.with_suffix(".settling")
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, content in sorted((names.get(name, name), content) for name, content in entries.items()):
            # A ZipInfo without a time has 1980's first day, always.
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.writestr(zipfile.ZipInfo(_SCHEMA), json.dumps(schema, indent=1))
    temporary.replace(path)


def seal(folder: Path, bundle: Bundle) -> Bundle:
    """Write model.json for the files that are in the folder now (again after files such as a plan were added)."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != _MANIFEST)
    # result.json comes after sealing, and names the digest itself.
    sealed = dataclasses.replace(bundle, files={name: _digest(folder / name) for name in names if name != "result.json"})
    (folder / _MANIFEST).write_text(_text(sealed), encoding="utf-8")
    return sealed


def read(folder: Path, digest: str | None = None, names: Iterable[str] | None = None) -> Bundle:
    """The manifest of a bundle, after checking it.

    Args:
        folder: where it is.
        digest: the digest that it must have, where one is known.
        names: check only these files; None for all.

    Raises:
        ConfigurationError: there is no bundle.
        IntegrityError: a digest differs, or a file is missing.
    """
    try:
        bundle = Bundle.from_dict(json.loads((folder / _MANIFEST).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"{folder}: has no {_MANIFEST}", hint="a bundle is what TrainOperator writes") from error
    except json.JSONDecodeError as error:
        raise IntegrityError(f"{folder / _MANIFEST}: is not JSON: {error}") from error
    if digest is not None and bundle.digest != digest:
        raise IntegrityError(f"{folder}: the bundle's digest is {bundle.digest} but {digest} was expected", expected=digest)
    for name in bundle.files if names is None else names:
        if not (folder / name).is_file() or _digest(folder / name) != bundle.files.get(name):
            raise IntegrityError(f"{folder / name}: differs from the digest in {_MANIFEST}, or is missing", file=name)
    return bundle


def read_pipeline(folder: Path) -> "BaseEstimator":
    """The fitted pipeline, from allowed types only; call `read` first, which checks the digests."""
    import skops.io

    return skops.io.load(folder / _PIPELINE, trusted=trusted())


def read_samples(folder: Path) -> JsonObject:
    """The sample rows and their answers."""
    found: JsonObject = json.loads((folder / _SAMPLES).read_text(encoding="utf-8"))
    return found


def _text(bundle: Bundle) -> str:
    values = {"format": FORMAT, **dataclasses.asdict(bundle)}
    if not bundle.label_type:  # as it always was: the digest is over this text
        del values["label_type"]
    return json.dumps(values, sort_keys=True, indent=1)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
