"""Methods compared at the same change inside the region, on samples that took no part in finding the directions."""
