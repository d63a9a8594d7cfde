"""Time series: ARIMA_PLUS and ARIMA_PLUS_XREG, from an Arrow table to forecasts and what explains them."""
