"""What pages may ask for: a function for each action, which takes the studio, the page's desk and its request."""
