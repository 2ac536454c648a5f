"""Adapters (LoRA, DoRA, LoKr, LoHa): every file layout -> one form, applied at its true scale, and saved."""
