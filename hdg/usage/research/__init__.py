"""What researchers are served: consented patients only, through an allow-list that takes names and days away."""
