"""What outlive costs, side by side with Ray in the same run: `python -m benchmarks`. README.md tells how to read it."""
