"""What the components run in: one image and one set of packages, so that they share an environment."""

PYTHON = "python:3.11"
LEARNING = ["pandas==2.2.3", "scikit-learn==1.6.1", "joblib==1.4.2"]
SERVING = ["google-cloud-aiplatform==1.165.1"]
