"""Tables of runs: listed, compared over seeds, and what reports say beside what is measured here."""
