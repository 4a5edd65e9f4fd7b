"""What happens along a run of a Factorizer: progress, files, pictures, labels, comparisons."""
