"""What reports say beside what is measured here."""
