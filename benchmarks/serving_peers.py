"""The same pipeline behind other servers, as their guides show it; started by `benchmarks/serving.py --peers DIR`.

python benchmarks/serving_peers.py fastapi|litserve|ray PORT MODEL

BentoML is started with `bentoml serve`, MLServer with `mlserver start`.
MODEL is the scikit-learn pipeline as joblib writes it; all answer ``{"rows": [{column: value}]}`` with a list of probabilities.
"""

import os
import sys

import joblib
import pandas as pd

COLUMNS = ["dep_delay", "sched_dep_time", "distance", "month", "carrier", "origin", "dest"]


def answers(pipeline, rows):
    return pipeline.predict_proba(pd.DataFrame(rows, columns=COLUMNS))[:, 1].tolist()


def fastapi(port, model):
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Row(BaseModel):
        dep_delay: float | None
        sched_dep_time: int
        distance: int
        month: int
        carrier: str
        origin: str
        dest: str

    class Body(BaseModel):
        rows: list[Row]

    pipeline, app = joblib.load(model), FastAPI()

    @app.post("/predict")
    def predict(body: Body) -> dict[str, list[float]]:
        return {"predictions": answers(pipeline, [row.model_dump() for row in body.rows])}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


try:
    import litserve as ls
except ImportError:
    ls = None
else:

    class Api(ls.LitAPI):
        def setup(self, device):
            self.pipeline = joblib.load(os.environ["LIT_MODEL"])

        def decode_request(self, request):
            return request["rows"]

        def predict(self, rows):
            return answers(self.pipeline, rows)

        def encode_response(self, output):
            return {"predictions": output}


def litserve(port, model):
    os.environ["LIT_MODEL"] = model  # its workers are processes of their own
    ls.LitServer(Api(), accelerator="cpu", workers_per_device=1).run(host="127.0.0.1", port=port, generate_client_file=False)


def ray(port, model):
    import time

    import ray as library
    from ray import serve

    library.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", object_store_memory=100_000_000)
    serve.start(http_options={"host": "127.0.0.1", "port": port})

    @serve.deployment
    class Model:
        def __init__(self):
            self.pipeline = joblib.load(model)

        async def __call__(self, request):
            return {"predictions": answers(self.pipeline, (await request.json())["rows"])}

    serve.run(Model.bind(), route_prefix="/predict")
    while True:
        time.sleep(1)


if "BENTO_MODEL" in os.environ:
    import bentoml

    @bentoml.service(workers=1)
    class Bento:
        def __init__(self):
            self.pipeline = joblib.load(os.environ["BENTO_MODEL"])

        @bentoml.api
        def predict(self, rows: list[dict]) -> dict:
            return {"predictions": answers(self.pipeline, rows)}


if __name__ == "__main__":
    {"fastapi": fastapi, "litserve": litserve, "ray": ray}[sys.argv[1]](int(sys.argv[2]), sys.argv[3])
