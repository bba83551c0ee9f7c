"""What a trained method is worth: metrics, tables, figures."""
