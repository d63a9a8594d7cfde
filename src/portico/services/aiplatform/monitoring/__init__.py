"""Monitoring: what a model is asked and answers now, compared with what it was trained on or asked before."""
