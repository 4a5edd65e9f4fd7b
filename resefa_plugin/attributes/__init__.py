"""What a direction does to a face, measured: scores of attributes, their changes, and the labels that follow."""
