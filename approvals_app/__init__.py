"""The third floor: who must say yes, who said it, and to exactly what."""
