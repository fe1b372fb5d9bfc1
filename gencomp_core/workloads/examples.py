"""How the bundled image workloads are sampled with numpy alone, as lines of the example that ships in an artifact.

They find `network` (the compiled graph), `SHAPES` and `KINDS` of its inputs, `SETTINGS`, `N` and `rng`, and leave
`images`: (N, c, h, w) uint8. A workload of your own may have an attribute `example` of the same form.
"""

FLOW = """
# Straight path from noise (t = 1) to image (t = 0) in Euler steps, no guidance: arXiv:2210.02747.
steps = int(SETTINGS["steps"])
x, labels = rng.standard_normal(SHAPES[0]).astype(np.float32), np.arange(N) % 10
for step in range(steps):
    x = x - network(x, np.full(N, 1 - step / steps), labels) / steps
images = np.rint(np.clip((x + 1) / 2, 0, 1) * 255).astype(np.uint8)
"""

GENERATOR = """
latent = rng.standard_normal(SHAPES[0]) * SETTINGS["temperature"]
images = np.rint(np.clip((network(latent, np.arange(N) % 10) + 1) / 2, 0, 1) * 255).astype(np.uint8)
"""

DECODER = """
latent = rng.standard_normal(SHAPES[0]) * SETTINGS["temperature"]
images = np.rint(np.clip(network(latent, np.arange(N) % 10), 0, 1) * 255).astype(np.uint8)
"""
