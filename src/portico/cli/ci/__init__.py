"""`portico ci`: a pipeline's repository compiled, tested, run on a sample, and its model held to the one deployed."""
