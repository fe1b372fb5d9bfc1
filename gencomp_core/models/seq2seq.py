"""Encoder–decoder Transformer with a pointer head, for short texts.

Pre-norm blocks (Vaswani 2017, arXiv:1706.03762; Xiong 2020, arXiv:2002.04745), one embedding shared by
encoder, decoder and output (Press & Wolf 2017, arXiv:1608.05859). The pointer head copies source tokens:
p(w) = g · p_vocabulary(w) + (1 - g) · Σ attention on source positions that hold w (See 2017,
arXiv:1704.04368, equation 9).
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UNSEEN = -1e9
"""Added to a score, it leaves an attention of exactly 0; a value that bfloat16 holds too."""


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Shape of the network.

    Attributes:
        vocabulary: number of pieces.
        dim: width of the residual stream before `width` scales it; a multiple of 8 · n_heads.
        width: multiplies `dim` and the feed-forward width.
        n_heads: attention heads.
        encoder_layers, decoder_layers: number of blocks.
        feed_forward: hidden width of the feed-forward layers, as a multiple of the residual stream's.
        dropout: on embeddings and on what each block adds.
        attention: self-attention in the encoder; off only in an ablation.
        residual: blocks add their input; off only in an ablation.
        pad: id of the padding piece.
    """

    vocabulary: int = 4096
    dim: int = 192
    width: float = 1.0
    n_heads: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 2
    feed_forward: int = 4
    dropout: float = 0.1
    attention: bool = True
    residual: bool = True
    pad: int = 0

    def scaled_dim(self) -> int:
        """Width of the residual stream after the width multiplier."""
        step = 8 * self.n_heads
        return max(step, round(self.dim * self.width / step) * step)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return asdict(self)


class Attention(nn.Module):
    """Multi-head attention with separate q, k and v, so that heads can be cut."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.n_heads = n_heads

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, t, dim) -> two (n, heads, t, dim / heads)."""
        return self._split(self.k(x)), self._split(self.v(x))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mix values by the agreement of queries and keys.

        Args:
            x: (n, t, dim), where queries come from.
            keys, values: (n, heads, s, dim / heads).
            mask: broadcastable to (n, heads, t, s): bool, True may be seen; or float, added to the scores.

        Returns:
            (n, t, dim), and the attention weights (n, heads, t, s).
        """
        q = self._split(self.q(x))
        # Plain products: the backward pass of the fused kernel is slow in bf16 on a CPU.
        scores = q @ keys.transpose(2, 3) / math.sqrt(q.shape[3])
        if mask is not None and mask.is_floating_point():
            scores = scores + mask
        elif mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=3)
        mixed: Tensor = self.proj((weights @ values).transpose(1, 2).flatten(2))
        return mixed, weights

    def step(self, x: Tensor, past_keys: Tensor, past_values: Tensor, unseen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One token's attention to those before it and to itself.

        Scores of both are put together where `forward` takes keys and values in one piece, so that a cache of fixed
        size is read where it lies.

        Args:
            x: (n, 1, dim) of the token.
            past_keys, past_values: (n, heads, t, dim / heads) of the tokens before it.
            unseen: float, broadcastable to (n, heads, 1, t): 0 where there is a token, else `UNSEEN`.

        Returns:
            (n, 1, dim), and the token's own keys and values (n, heads, 1, dim / heads).
        """
        q = self._split(self.q(x))
        keys, values = self.keys_and_values(x)
        size = math.sqrt(q.shape[3])
        before = q @ past_keys.transpose(2, 3) / size + unseen
        own = (q * keys).sum(dim=3, keepdim=True) / size
        weights = torch.cat([before, own], dim=3).softmax(dim=3)
        mixed = weights[..., :-1] @ past_values + weights[..., -1:] * values
        return self.proj(mixed.transpose(1, 2).flatten(2)), keys, values

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.n_heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with ReLU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, hidden)
        self.outer = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(n, t, dim) -> (n, t, dim)."""
        out: Tensor = self.outer(F.relu(self.inner(x)))
        return out


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        dim = config.scaled_dim()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, config.n_heads) if config.attention else None
        self.feed_norm = nn.LayerNorm(dim)
        self.feed = FeedForward(dim, config.feed_forward * dim)
        self.dropout = nn.Dropout(config.dropout)
        self.residual = config.residual

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (n, s, dim), mask (n, 1, 1, s) -> (n, s, dim)."""
        if self.attention is not None:
            normed = self.attention_norm(x)
            mixed, _ = self.attention(normed, *self.attention.keys_and_values(normed), mask)
            x = self.dropout(mixed) + (x if self.residual else 0)
        out: Tensor = self.dropout(self.feed(self.feed_norm(x))) + (x if self.residual else 0)
        return out


@dataclass
class LayerCache:
    """What one decoder layer remembers between steps.

    Attributes:
        memory: keys and values of the source, each (n, heads, s, dim / heads).
        past: keys and values of the tokens so far, or None before the first.
    """

    memory: tuple[Tensor, Tensor]
    past: tuple[Tensor, Tensor] | None = None

    def reorder(self, index: Tensor) -> "LayerCache":
        """The cache of other rows of the batch, as beam search needs it: index (m,) int64."""
        memory = (self.memory[0][index], self.memory[1][index])
        past = None if self.past is None else (self.past[0][index], self.past[1][index])
        return LayerCache(memory, past)


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the source, then feed-forward."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        dim = config.scaled_dim()
        self.self_norm = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, config.n_heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, config.n_heads)
        self.feed_norm = nn.LayerNorm(dim)
        self.feed = FeedForward(dim, config.feed_forward * dim)
        self.dropout = nn.Dropout(config.dropout)
        self.residual = config.residual

    def forward(
        self, x: Tensor, cache: LayerCache, causal: Tensor | None, source_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """New tokens through the layer; their keys and values are added to the cache.

        Args:
            x: (n, t, dim) of the t newest tokens.
            causal: (t, t) bool for several tokens at once, None for one.
            source_mask: (n, 1, 1, s) bool.

        Returns:
            (n, t, dim), and the attention to the source (n, heads, t, s).
        """
        normed = self.self_norm(x)
        keys, values = self.self_attention.keys_and_values(normed)
        if cache.past is not None:
            keys, values = torch.cat([cache.past[0], keys], 2), torch.cat([cache.past[1], values], 2)
        cache.past = (keys, values)
        mixed, _ = self.self_attention(normed, keys, values, causal)
        x = self.dropout(mixed) + (x if self.residual else 0)
        mixed, attention = self.cross_attention(self.cross_norm(x), *cache.memory, source_mask)
        x = self.dropout(mixed) + (x if self.residual else 0)
        return self.dropout(self.feed(self.feed_norm(x))) + (x if self.residual else 0), attention

    def step(
        self, x: Tensor, memory: Sequence[Tensor], past: Sequence[Tensor], source_mask: Tensor, unseen: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One token through the layer, for graphs of fixed size.

        Args:
            x: (n, 1, dim).
            memory: keys and values of the source, each (n, heads, s, dim / heads).
            past: keys and values of the tokens before, each (n, heads, t, dim / heads).
            source_mask: (n, 1, 1, s) float, added to the scores; unseen: see `Attention.step`.

        Returns:
            (n, 1, dim); the attention to the source (n, heads, 1, s); the token's own keys and values.
        """
        mixed, keys, values = self.self_attention.step(self.self_norm(x), past[0], past[1], unseen)
        x = mixed + (x if self.residual else 0)
        mixed, attention = self.cross_attention(self.cross_norm(x), memory[0], memory[1], source_mask)
        x = mixed + (x if self.residual else 0)
        return self.feed(self.feed_norm(x)) + (x if self.residual else 0), attention, keys, values


@dataclass
class DecoderState:
    """Everything that decoding carries from token to token.

    Attributes:
        source: (n, s) int64 ids that the pointer copies from.
        source_mask: (n, 1, 1, s) bool; True where there is a token.
        layers: one cache per decoder layer.
        position: tokens decoded so far.
    """

    source: Tensor
    source_mask: Tensor
    layers: list[LayerCache] = field(default_factory=list)
    position: int = 0

    def reorder(self, index: Tensor) -> "DecoderState":
        """The state of other rows of the batch: index (m,) int64."""
        layers = [layer.reorder(index) for layer in self.layers]
        return DecoderState(self.source[index], self.source_mask[index], layers, self.position)


class Seq2Seq(nn.Module):
    """Source ids to target ids."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.scaled_dim()
        self.embedding = nn.Embedding(config.vocabulary, dim, padding_idx=config.pad)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))
        self.encoder_norm = nn.LayerNorm(dim)
        self.decoder = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.decoder_norm = nn.LayerNorm(dim)
        self.copy_gate = nn.Linear(dim, 1)

    def start(self, source: Tensor) -> DecoderState:
        """Encode the source: (n, s) int64, padded -> state before the first target token."""
        mask = (source != self.config.pad)[:, None, None, :]
        x = self._embed(source, 0)
        for layer in self.encoder:
            x = layer(x, mask)
        memory = self.encoder_norm(x)
        caches = []
        for layer in self.decoder:
            assert isinstance(layer, DecoderLayer)
            caches.append(LayerCache(layer.cross_attention.keys_and_values(memory)))
        return DecoderState(source, mask, caches)

    def advance(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, Tensor]:
        """Read target tokens; the state moves on by as many.

        Args:
            tokens: (n, t) int64, the next tokens of the target.

        Returns:
            Hidden states (n, t, dim), and the pointer's attention to the source (n, t, s).
        """
        x = self._embed(tokens, state.position)
        n_new = tokens.shape[1]
        causal = torch.ones(n_new, n_new, dtype=torch.bool, device=tokens.device).tril() if n_new > 1 else None
        attention = x
        for layer, cache in zip(self.decoder, state.layers, strict=True):
            x, attention = layer(x, cache, causal, state.source_mask)
        state.position += n_new
        return self.decoder_norm(x), attention.mean(dim=1)

    def token_log_probs(
        self, hidden: Tensor, attention: Tensor, state: DecoderState, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-probability of given tokens; no distribution is mixed out in full.

        Args:
            hidden, attention: from `advance`.
            targets: (n, t) int64, the tokens that follow.

        Returns:
            (n, t) of the targets, and (n, t) the mean over the vocabulary of the generator's
            log-probabilities, for label smoothing.
        """
        logits, gate = self._logits(hidden).float(), self.copy_gate(hidden)[:, :, 0].float()
        normaliser = logits.logsumexp(dim=2)
        generated = logits.gather(2, targets[:, :, None])[:, :, 0] - normaliser
        uniform = logits.mean(dim=2) - normaliser
        same = state.source[:, None, :] == targets[:, :, None]
        copied = (attention.float() * same).sum(dim=2).clamp_min(1e-9).log()
        mixed: Tensor = torch.logaddexp(F.logsigmoid(gate) + generated, F.logsigmoid(-gate) + copied)
        return mixed, uniform

    def log_probs(self, hidden: Tensor, attention: Tensor, state: DecoderState) -> Tensor:
        """Log-probabilities of every piece after each token: (n, t, vocabulary) float32."""
        return self.probabilities(hidden, attention, state).log()

    def probabilities(self, hidden: Tensor, attention: Tensor, state: DecoderState) -> Tensor:
        """Probabilities of every piece after each token, above 0: (n, t, vocabulary) float32."""
        gate = self.copy_gate(hidden).float()
        generated = self._logits(hidden).float().softmax(dim=2) * gate.sigmoid()
        source = state.source[:, None, :].expand(attention.shape)
        copied = torch.zeros_like(generated).scatter_add(2, source, attention.float() * (-gate).sigmoid())
        probabilities: Tensor = generated + copied
        return probabilities.clamp_min(1e-12)

    def next_log_probs(self, hidden: Tensor, attention: Tensor, state: DecoderState) -> Tensor:
        """Log-probabilities of every piece after the last token: (n, vocabulary) float32."""
        return self.log_probs(hidden[:, -1:], attention[:, -1:], state)[:, 0]

    def forward(self, source: Tensor, target: Tensor, *, with_uniform: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Log-probability of each target token after the first, given those before it.

        Args:
            source: (n, s) int64, padded. target: (n, t) int64, from the begin piece on, padded.

        Returns:
            (n, t - 1) float32; what stands at padding means nothing. With `with_uniform` also the
            uniform term of label smoothing (`token_log_probs`).
        """
        state = self.start(source)
        hidden, attention = self.advance(target[:, :-1], state)
        log_probs, uniform = self.token_log_probs(hidden, attention, state, target[:, 1:])
        return (log_probs, uniform) if with_uniform else log_probs

    def memory(self, source: Tensor) -> tuple[Tensor, ...]:
        """What the decoder reads of the source: (n, s) int64, padded -> keys, values of each decoder layer."""
        return tuple(part for layer in self.start(source).layers for part in layer.memory)

    def step(
        self, tokens: Tensor, code: Tensor, source: Tensor, source_mask: Tensor, unseen: Tensor, *caches: Tensor
    ) -> tuple[Tensor, ...]:
        """The next token, with all that it depends on as plain tensors; in eval mode.

        Args:
            tokens: (n, 1) int64.
            code: (1, 1, dim) float32, the code of its position.
            source: (n, s) int64, what the pointer copies from.
            source_mask: (n, 1, 1, s) float32: 0 where there is a token, else `UNSEEN`.
            unseen: (1, 1, 1, t) float32, the same for the tokens before this one.
            caches: of each decoder layer keys and values of the source (n, heads, s, dim / heads), then keys and
                values of the tokens before (n, heads, t, dim / heads).

        Returns:
            (n, vocabulary) float32 probabilities of what follows; then of each decoder layer the token's own keys
            and values (n, heads, 1, dim / heads), to be put into the cache. Logarithms are left to who needs them:
            a graph compiler may take them one by one, and then they cost a tenth of the step.
        """
        x = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim) + code
        attention, new = x, []
        for number, layer in enumerate(self.decoder):
            assert isinstance(layer, DecoderLayer)
            own = caches[4 * number : 4 * number + 4]
            x, attention, keys, values = layer.step(x, own[:2], own[2:], source_mask, unseen)
            new += [keys, values]
        state = DecoderState(source, source_mask)
        return self.probabilities(self.decoder_norm(x), attention.mean(dim=1), state)[:, 0], *new

    def tied_layers(self) -> tuple[str, ...]:
        """The embedding is the output layer too."""
        return ("embedding",)

    def _embed(self, tokens: Tensor, first: int) -> Tensor:
        dim = self.embedding.embedding_dim
        positions = sinusoids(first, first + tokens.shape[1], dim).to(tokens.device)
        embedded: Tensor = self.dropout(self.embedding(tokens) * math.sqrt(dim) + positions)
        return embedded

    def _logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embedding.weight)


def sinusoids(first: int, stop: int, dim: int) -> Tensor:
    """Position codes of positions `first` to `stop - 1`: (stop - first, dim) float32.

    Source: Vaswani 2017 (arXiv:1706.03762), section 3.5, all sines before all cosines.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32) / half)
    angles = torch.arange(first, stop, dtype=torch.float32)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
