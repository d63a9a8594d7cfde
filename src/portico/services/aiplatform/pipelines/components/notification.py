"""VertexNotificationEmailOp: mail to people when the tasks before it have ended. Google's own module only says that
Vertex AI does it.

https://cloud.google.com/vertex-ai/docs/pipelines/email-notifications
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from portico.errors import FailedPrecondition, InvalidArgument
from portico.services.aiplatform.custom.recognised import GOOGLES
from portico.services.alerts import mail

MODULE = f"{GOOGLES}.container.v1.vertex_notification_email.executor"
_MOST = 3  # recipients: Google's limit


def run(executor_input: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Sends the mails; the component's outputs, which are none.

    Raises:
        InvalidArgument: there are no recipients, or too many. FailedPrecondition: a mail could not be sent.
    """
    given = executor_input["inputs"].get("parameterValues") or {}
    recipients, status = given.get("recipients") or [], given.get("pipeline_task_final_status") or {}
    if not 0 < len(recipients) <= _MOST:
        raise InvalidArgument(f"recipients must be one to {_MOST} addresses.", field="recipients")
    state, job = status.get("state", ""), status.get("pipelineJobResourceName", "")
    subject = f"Vertex AI pipeline {job.rpartition('/')[2]}: {state}"
    error = (status.get("error") or {}).get("message", "")
    lines = [f"Pipeline job: {job}", f"Task: {status.get('pipelineTaskName', '')}", f"State: {state}"]
    text = "\n".join([*lines, *([f"Error: {error}"] if error else [])])
    for recipient in recipients:
        try:
            mail.send(str(recipient), subject, text)
        except mail.MailError as failure:
            raise FailedPrecondition(f"The mail to {recipient} could not be sent. {failure}") from None
        say(f"Mail was sent to {recipient}.")
    return {"parameterValues": {}, "artifacts": {}}
