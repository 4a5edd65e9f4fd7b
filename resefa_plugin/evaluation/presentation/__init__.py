"""What a comparison shows: tables, intervals, curves and strips of pictures."""
