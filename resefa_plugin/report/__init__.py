"""What a person looks at: pictures, plots and the page of a run."""
