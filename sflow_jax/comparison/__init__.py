"""Methods side by side: trained on the same data for the same time, and scored by the same code."""
