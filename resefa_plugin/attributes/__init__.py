"""What a direction does to a face, by measure: attribute scores, their changes, and the labels that follow."""
