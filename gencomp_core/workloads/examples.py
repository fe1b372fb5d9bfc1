"""How the bundled workloads are sampled with numpy alone, as lines of the example that ships in an artifact.

They find `load(program, **sizes)` (a compiled graph, which gives a list of arrays), `shapes(program, **sizes)` of its
inputs, `SETTINGS`, `N`, `rng` and, for texts, `PROMPTS`. They leave `images`: (N, c, h, w) uint8, or `texts`: a list of
strings. A workload of your own may have an attribute `example` of the same form.
"""

from gencomp_core.data.verses import BOS, EOS, PAD
from gencomp_core.models.seq2seq import UNSEEN

FLOW = """
# Straight path from noise (t = 1) to image (t = 0) in Euler steps, no guidance: arXiv:2210.02747.
network, steps = load("model", batch=N), int(SETTINGS["steps"])
x, labels = rng.standard_normal(shapes("model", batch=N)[0]).astype(np.float32), np.arange(N) % 10
for step in range(steps):
    x = x - network(x, np.full(N, 1 - step / steps), labels)[0] / steps
images = np.rint(np.clip((x + 1) / 2, 0, 1) * 255).astype(np.uint8)
"""

_LATENT = """
network = load("model", batch=N)
latent = rng.standard_normal(shapes("model", batch=N)[0]) * SETTINGS["temperature"]
"""

GENERATOR = f"""{_LATENT}brightness = (network(latent, np.arange(N) % 10)[0] + 1) / 2
images = np.rint(np.clip(brightness, 0, 1) * 255).astype(np.uint8)
"""

DECODER = f"""{_LATENT}brightness = network(latent, np.arange(N) % 10)[0]
images = np.rint(np.clip(brightness, 0, 1) * 255).astype(np.uint8)
"""

RETELLING = f"""
PAD, BOS, EOS, UNSEEN, LONGEST = {PAD}, {BOS}, {EOS}, {UNSEEN:g}, 160
tokenizer = tokenizers.Tokenizer.from_file(str(HERE / "tokenizer.json"))
SOURCE = -(-max(len(own.ids) for own in tokenizer.encode_batch(PROMPTS)) // 32) * 32
SIZES = {{"batch": 1, "source_length": SOURCE, "past_length": LONGEST}}
memory, step = load("memory", batch=1, source_length=SOURCE), load("step", **SIZES)


def code(position, dim):
    angles = position * np.exp(-np.log(10_000) * np.arange(dim // 2) / (dim // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)])[None, None]


def retell(text):
    \"\"\"Greedy decoding; every layer's keys and values of the past are written into place.\"\"\"
    ids = tokenizer.encode(text).ids
    source = np.array([ids + [PAD] * (SOURCE - len(ids))])
    mask, unseen = (source == PAD)[:, None, None] * UNSEEN, np.full((1, 1, 1, LONGEST), UNSEEN)
    known, sizes = memory(source), shapes("step", **SIZES)
    past = [np.zeros(size) for number, size in enumerate(sizes[5:]) if number % 4 > 1]
    tokens = [BOS]
    for position in range(LONGEST):
        caches = [own for i in range(0, len(known), 2) for own in (*known[i : i + 2], *past[i : i + 2])]
        log_probs, *new = step([tokens[-1:]], code(position, sizes[1][2]), source, mask, unseen, *caches)
        if (token := int(log_probs.argmax())) == EOS:
            break
        tokens.append(token)
        unseen[..., position] = 0
        for cache, own in zip(past, new):
            cache[:, :, position] = own[:, :, 0]
    return tokenizer.decode(tokens[1:])


texts = [retell(text) for text in PROMPTS]
"""
