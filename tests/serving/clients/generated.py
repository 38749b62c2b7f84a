"""Uses a client that openapi-python-client made of the server's document (the package ``server_client``): URL, token, rows as JSON."""

import json
import sys

from server_client.api.default import live
from server_client.api.default import models as list_models
from server_client.api.flight_delays import (
    infer_flight_delays,
    invocations_of_flight_delays,
    kserve_predict_flight_delays,
    predict_flight_delays,
)
from server_client.api.other import unload_other
from server_client.client import AuthenticatedClient, Client
from server_client.models.infer_flight_delays_body import InferFlightDelaysBody
from server_client.models.invocations_of_flight_delays_body import InvocationsOfFlightDelaysBody
from server_client.models.kserve_predict_flight_delays_body import KservePredictFlightDelaysBody
from server_client.models.predict_flight_delays_body import PredictFlightDelaysBody
from server_client.models.predict_flight_delays_body_rows_item import PredictFlightDelaysBodyRowsItem
from server_client.models.unload_other_body import UnloadOtherBody

url, token, rows = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
client = AuthenticatedClient(base_url=url, token=token)
found = {"live": live.sync(client=Client(base_url=url)).to_dict()["live"]}

body = PredictFlightDelaysBody(rows=[PredictFlightDelaysBodyRowsItem(**row) for row in rows])
said = predict_flight_delays.sync(client=client, body=body, x_request_id="from-a-generated-client").to_dict()
found["id"], found["predict"] = said["id"], said["predictions"]

body = KservePredictFlightDelaysBody.from_dict({"instances": rows})
found["kserve"] = kserve_predict_flight_delays.sync(client=client, body=body).predictions

body = InvocationsOfFlightDelaysBody.from_dict({"dataframe_records": rows})
found["records"] = invocations_of_flight_delays.sync(client=client, body=body).predictions

split = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
body = InvocationsOfFlightDelaysBody.from_dict({"dataframe_split": split})
found["split"] = invocations_of_flight_delays.sync(client=client, body=body).predictions

tensors = [
    {"name": name, "shape": [len(rows)], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [row[name] for row in rows]}
    for name, value in rows[0].items()
]
outputs = infer_flight_delays.sync(client=client, body=InferFlightDelaysBody.from_dict({"inputs": tensors})).to_dict()["outputs"]
found["infer"] = next(output["data"] for output in outputs if output["name"] == "prediction")

body = PredictFlightDelaysBody(rows=[PredictFlightDelaysBodyRowsItem(**rows[0] | {"dep_delay": "late"})])
refused = predict_flight_delays.sync_detailed(client=client, body=body)
found["refused"] = [int(refused.status_code), refused.parsed.problems[0].field]

unload_other.sync(client=client, body=UnloadOtherBody.from_dict({"parameters": {}}))
kept = list_models.sync(client=client).to_dict()["models"]
found["unloaded"] = sorted({"flight_delays", "other"} - set(kept))
sys.stdout.write(json.dumps(found))
