"""What a job writes below /gcs and no object can hold fails it, as the write itself does on Vertex AI."""

from __future__ import annotations

from typing import Any

import pytest
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.pipelines_run import failed

SOURCE = """
@dsl.component(base_image="python:3.11")
def stray(path: str) -> str:
    import os
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write("lost")
    return path

@dsl.pipeline
def strays(path: str):
    stray(path=path)
"""


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/gcs/no-such-bucket-anywhere/x.txt", "no-such-bucket-anywhere"),
        pytest.param("/gcs/loose.txt", "it is in no bucket", marks=pytest.mark.slow),
    ],
)
def test_a_task_that_writes_into_no_bucket_fails(aiplatform: Any, bucket: Any, path: str, said: str) -> None:
    job = aiplatform.PipelineJob(
        display_name="strays", template_path=compiled(SOURCE)["strays"], pipeline_root=f"gs://{bucket.name}/root",
        parameter_values={"path": path},
    )  # fmt: skip
    job.submit()
    words = failed(job)
    assert "could not be kept" in words and said in words


def test_so_does_a_custom_job_whose_other_files_are_kept(aiplatform: Any, bucket: Any, tmp_path: Any) -> None:
    script = tmp_path / "task.py"
    script.write_text(
        "import os\n"
        f"open('/gcs/{bucket.name}/kept.txt', 'w').write('kept')\n"
        "os.makedirs('/gcs/no-such-bucket-either')\n"
        "open('/gcs/no-such-bucket-either/x', 'w').write('lost')\n"
    )
    job = aiplatform.CustomJob.from_local_script(
        display_name="strays", script_path=str(script), staging_bucket=f"gs://{bucket.name}",
        container_uri="us-docker.pkg.dev/vertex-ai/training/scikit-learn-cpu.1-6:latest",
    )  # fmt: skip
    with pytest.raises(RuntimeError):
        job.run()
    assert "/gcs/no-such-bucket-either/x" in job.error.message and "could not be kept" in job.error.message
    assert bucket.blob("kept.txt").download_as_text() == "kept"
