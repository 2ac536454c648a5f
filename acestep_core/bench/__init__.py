"""`acestep-cascade bench`: speed as ratios against others' code at equal weights, in one alternating run."""
