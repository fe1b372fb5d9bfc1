"""What the Methods page shows of each stage: one file a family, one function a stage, one table a view."""
