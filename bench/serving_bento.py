"""BentoML's side of the serving benchmark; see serving_peers."""

import os

import bentoml
from serving_peers import load


@bentoml.service(workers=1)
class Served:
    def __init__(self) -> None:
        self.answer = load(os.environ["PORTICO_BENCH_MODEL"])

    @bentoml.api(route="/predict")
    def predict(self, instances: list[dict]) -> dict:
        return {"predictions": self.answer(instances).tolist()}
