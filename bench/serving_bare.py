"""The yardstick: a bare ASGI handler on uvicorn (uvloop, httptools) with orjson and `Booster.predict`.

python serving_bare.py MODEL PORT
"""

import sys

import lightgbm
import numpy as np
import orjson
import uvicorn

booster = lightgbm.Booster(model_file=sys.argv[1])
names = booster.feature_name()
# The generated data's categorical columns come last; their codes are their places in the model's own list.
codes = dict(
    zip(
        names[-len(booster.pandas_categorical) :],
        ({value: float(code) for code, value in enumerate(known)} for known in booster.pandas_categorical),
        strict=True,
    )
)


async def app(scope, receive, send):
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    instances = orjson.loads(body)["instances"]
    rows = [
        [codes[name].get(row[name]) if name in codes else row[name] for name in names] for row in instances
    ]
    predictions = booster.predict(np.array(rows), num_threads=1)
    answer = orjson.dumps({"predictions": predictions.tolist()})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", lifespan="off", log_level="warning")
