"""The peers' sides of the serving benchmark, run in their own environments; nothing of Portico is imported.

python serving_peers.py mlflow-save|ray|bentoml MODEL FOLDER_OR_PORT
"""

import sys


def load(path):
    """A function from rows (objects by name) to the booster's predictions. Without pandas: that would cost 2 ms."""
    import lightgbm
    import numpy as np

    booster = lightgbm.Booster(model_file=path)
    names, known = booster.feature_name(), booster.pandas_categorical
    codes = dict(
        zip(
            names[-len(known) :],
            ({value: float(code) for code, value in enumerate(values)} for values in known),
            strict=True,
        )
    )

    def answer(rows):
        encoded = [
            [codes[name].get(row[name]) if name in codes else row[name] for name in names] for row in rows
        ]
        return booster.predict(np.array(encoded), num_threads=1)

    return answer


def mlflow_save(model, folder):
    import mlflow

    class Served(mlflow.pyfunc.PythonModel):
        def load_context(self, context):
            self.answer = load(context.artifacts["model"])

        def predict(self, context, model_input, params=None):
            return self.answer(model_input.to_dict("records"))

    mlflow.pyfunc.save_model(folder, python_model=Served(), artifacts={"model": model}, pip_requirements=[])


def ray_serve(model, port):
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
            return {"predictions": self.answer(instances).tolist()}

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
