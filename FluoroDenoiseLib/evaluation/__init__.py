"""Evaluation: scenes with known truth, rivals, the limit, and the report that sets them side by side."""
