"""What the registry holds as every service needs it: models and their versions, evaluations, datasets, trainings."""
