"""BigQuery ML's models: what they learn from an Arrow table, and what its functions say of them. No SQL is here."""
