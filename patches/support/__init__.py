"""What the patches share."""
