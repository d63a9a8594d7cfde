"""Forecasting: one model of many time series."""
