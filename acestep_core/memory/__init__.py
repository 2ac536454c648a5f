"""What a cascade needs of memory, which plan fits into what is free, and what happens where it runs out."""
