"""Stand-ins for public tables: under Google's names, and told to be stand-ins."""

from __future__ import annotations

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from portico.demos.public_tables import PROJECT, load


def test_a_stand_in_is_read_under_the_public_name_and_made_once(portico):
    assert load(portico.url, "ml_datasets.iris", print) == 150
    assert load(portico.url, f"{PROJECT}.samples.natality", print) == 20_000
    assert load(portico.url, "ml_datasets.iris", print) == 150
    options = {"api_endpoint": portico.url}
    client = bigquery.Client("someone", credentials=AnonymousCredentials(), client_options=options)
    [row] = client.query_and_wait(
        f"SELECT COUNT(DISTINCT species) AS n, MAX(petal_length) AS most FROM `{PROJECT}.ml_datasets.iris`"
    )
    assert (row.n, row.most) == (3, 6.9)
    assert "stand-in" in client.get_table(f"{PROJECT}.samples.natality").description
