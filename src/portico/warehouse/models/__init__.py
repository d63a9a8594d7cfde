"""BigQuery ML in SQL: CREATE MODEL and its kin, and the ML functions in FROM. What models learn is in `ml.bqml`."""
