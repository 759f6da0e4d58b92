"""Pages that people see: values in, HTML out."""
