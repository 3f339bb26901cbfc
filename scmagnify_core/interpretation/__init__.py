"""What a network means: RegFactors, activities, cell-cell communication."""
