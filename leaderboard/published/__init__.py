"""Published values, the recipes behind them, and comparisons with measured ones."""
