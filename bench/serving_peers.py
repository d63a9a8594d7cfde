"""The peers' sides of the serving benchmark, run in their own environments; nothing of Portico is imported.

python serving_peers.py mlflow-save|ray|bentoml MODEL FOLDER_OR_PORT
"""

import sys


def load(path):
    """The booster, and a function from rows (objects by name) to its predictions by way of a data frame."""
    import lightgbm
    import pandas as pd

    booster = lightgbm.Booster(model_file=path)
    names = booster.feature_name()
    known = booster.pandas_categorical
    kinds = {
        name: pd.CategoricalDtype(categories)
        for name, categories in zip(names[-len(known) :], known, strict=True)
    }
    return lambda frame: booster.predict(frame[names].astype(kinds), num_threads=1)


def mlflow_save(model, folder):
    import mlflow

    class Served(mlflow.pyfunc.PythonModel):
        def load_context(self, context):
            self.answer = load(context.artifacts["model"])

        def predict(self, context, model_input, params=None):
            return self.answer(model_input)

    mlflow.pyfunc.save_model(folder, python_model=Served(), artifacts={"model": model}, pip_requirements=[])


def ray_serve(model, port):
    import pandas as pd
    import ray
    from ray import serve

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"port": int(port)})

    @serve.deployment
    class Served:
        def __init__(self):
            self.answer = load(model)

        async def __call__(self, request):
            instances = (await request.json())["instances"]
            return {"predictions": self.answer(pd.DataFrame(instances)).tolist()}

    serve.run(Served.bind(), route_prefix="/", blocking=True)


def bento(model, port):
    import os

    os.environ["PORTICO_BENCH_MODEL"] = model
    os.execv(
        sys.executable,
        [
            sys.executable,
            "-m",
            "bentoml",
            "serve",
            "serving_bento:Served",
            "--port",
            port,
            "--host",
            "127.0.0.1",
        ],
    )


if __name__ == "__main__":
    {"mlflow-save": mlflow_save, "ray": ray_serve, "bentoml": bento}[sys.argv[1]](*sys.argv[2:])
