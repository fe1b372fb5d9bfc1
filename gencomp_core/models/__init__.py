"""Networks and their samplers. Nothing here knows of data, recipes or metrics."""
