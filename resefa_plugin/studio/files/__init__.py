"""What comes into a session as files and goes out as files: work, directions, pictures, commands."""
