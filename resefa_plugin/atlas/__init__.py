"""What is known of a network beforehand: its tiles, its regions, its edits."""
