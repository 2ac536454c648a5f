"""The memory that a cascade needs, the plan that fits into the free memory, and the retry when memory runs out."""
