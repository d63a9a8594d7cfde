"""Cloud Storage: what its methods mean. What is not JSON comes through `doors`."""
