"""How good models are: the embedded family, an adapter, a distilled student, each measured on songs it never saw."""
