"""Use cases: the one door for pages, command line and worker.

Modules are imported by name, so that browsing (`library`) does not load what computes (`measuring`,
`preview`, `exporting`), which imports torch.
"""
