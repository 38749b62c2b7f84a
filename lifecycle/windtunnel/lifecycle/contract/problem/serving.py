"""How a model is served."""

from pydantic import Field

from windtunnel.lifecycle.contract.problem.parts import DottedName, Part, Share

__all__ = ["Lookup", "Manifests", "Serving"]


class Lookup(Part):
    """Answers that a batch job computed beforehand, found by key; what is not there, or too old, the model answers."""

    key: list[str] = Field(default_factory=list, description="columns of a request that name a row; empty: the problem's keys")
    max_age_hours: float = Field(24.0, gt=0, description="older precomputed answers are not used")


class Manifests(Part):
    """Manifests that are written when a version is promoted; applying them is the team's own step."""

    image: str = Field(description="the model server's image, as the cluster names it")
    namespace: str = Field("default", description="KServe: the namespace")
    role: str | None = Field(None, description="SageMaker: the execution role's ARN; without it only KServe's is written")
    instance: str = Field("ml.c6i.large", description="SageMaker: the instance type")


class Serving(Part):
    """How the model is served."""

    threshold: float = Field(0.5, ge=0, le=1, description="the probability from which a binary answer is yes")
    abstain_below: float | None = Field(None, ge=0, le=1, description="confidence under which a person is asked")
    latency_p99_ms: float = Field(100.0, gt=0, description="slower models are not deployed; milliseconds of one request")
    size_mb: float = Field(200.0, gt=0, description="larger bundles are not deployed")
    canary_share: Share = Field(0.0, description="share of requests that a new version gets first; 0: all at once")
    bake_seconds: float = Field(0.0, ge=0, description="how long the canary is watched")
    canary_requests: int = Field(20, ge=0, description="requests that a canary must have answered to be promoted")
    canary_without_evidence: bool = Field(False, description="promote a canary that answered fewer, and say so in the ledger")
    canary_drift: float = Field(0.25, gt=0, description="largest population stability index of its answers against the champion's")
    sticky: str | None = Field(None, description="the column whose value always gets the same arm")
    bandit: bool = Field(False, description="the canary's share follows what its answers turn out to be worth (Thompson sampling)")
    reward: DottedName | None = Field(None, description="module:function(truth, prediction) -> rewards, 0 to 1; None: whether it was right")
    explain: bool = Field(False, description="answers can be asked for what each column contributed")
    lookup: Lookup | None = Field(None, description="answer from precomputed answers where there are any")
    targets: list[str] = Field(default_factory=list, description="further places for the champion: a directory, mlflow:, put+https://...")
    manifests: Manifests | None = Field(None, description="write manifests for KServe and SageMaker")
    redact: list[str] = Field(default_factory=list, description="columns that the prediction log leaves out, beside the sensitive ones")
    log_sample: Share = Field(1.0, description="share of requests that the prediction log keeps")
