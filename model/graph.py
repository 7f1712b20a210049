"""Temporal graph network over text tokens, Eqs 2 and 10 (time code and attention after Rossi et al. 2020).

Nodes are tokens, the first of them ([CLS]) a global node. Edges are typed: sequence within a window (forward and back),
contextual neighbours by cosine, to and from the global node. The residual is GRU-gated and starts at zero.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import TextConfig

SELF, FORWARD, BACKWARD, CONTEXT, TO_GLOBAL, FROM_GLOBAL, NONE = range(7)
EDGE_TYPES = 6


class TemporalGraphNetwork(nn.Module):
    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.window, self.neighbours = config.graph_window, config.graph_neighbours
        self.layers = nn.ModuleList(GraphLayer(width, config.graph_heads) for _ in range(config.graph_layers))

    def forward(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Nodes [B, N, d] with mask [B, N] to nodes of the same shape."""
        edges = typed_edges(nodes, mask, self.window, self.neighbours)
        for layer in self.layers:
            nodes = layer(nodes, edges)
        return nodes


class GraphLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.query = nn.Linear(2 * width, width)
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.edge_key = nn.Parameter(torch.randn(EDGE_TYPES, heads, self.head_width) * 0.02)
        self.edge_value = nn.Parameter(torch.randn(EDGE_TYPES, heads, self.head_width) * 0.02)
        self.frequency = nn.Parameter(torch.logspace(0, -3, width))
        self.phase = nn.Parameter(torch.zeros(width))
        self.time_key, self.time_value = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.update = nn.GRUCell(width, width)
        self.gate = nn.Parameter(torch.zeros(width))

    def time_code(self, steps: Tensor) -> Tensor:
        """TGN's phi(dt) = cos(w dt + b), steps [...] to [..., d]."""
        return torch.cos(steps.unsqueeze(-1) * self.frequency + self.phase)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Nodes [B, N, d], edge types [B, N, N] to updated nodes [B, N, d]."""
        B, N, d = nodes.shape
        now = self.time_code(nodes.new_zeros(1)).expand(B, N, d)
        split = (self.heads, self.head_width)
        q = self.query(torch.cat([nodes, now], dim=-1)).unflatten(2, split)
        k, v = self.key(nodes).unflatten(2, split), self.value(nodes).unflatten(2, split)
        offsets = torch.arange(N, device=nodes.device, dtype=nodes.dtype)
        passed = self.time_code(offsets.unsqueeze(1) - offsets)  # phi(i - j), [N, N, d]
        time_k, time_v = self.time_key(passed).unflatten(2, split), self.time_value(passed).unflatten(2, split)

        present = edges != NONE
        kinds = F.one_hot(edges.clamp(max=EDGE_TYPES - 1), EDGE_TYPES).to(nodes.dtype) * present.unsqueeze(-1)
        scores = torch.einsum("bnhc,bmhc->bhnm", q, k) + torch.einsum("bnhc,nmhc->bhnm", q, time_k)
        scores = scores + torch.einsum("bnhc,ehc,bnme->bhnm", q, self.edge_key, kinds)
        scores = (scores * self.head_width**-0.5).masked_fill(~present.unsqueeze(1), -1e4)
        weights = scores.softmax(dim=-1) * present.unsqueeze(1)
        message = torch.einsum("bhnm,bmhc->bnhc", weights, v) + torch.einsum("bhnm,nmhc->bnhc", weights, time_v)
        message = message + torch.einsum("bhnm,bnme,ehc->bnhc", weights, kinds, self.edge_value)
        updated = self.update(message.reshape(B * N, d), nodes.reshape(B * N, d)).view(B, N, d)
        gated: Tensor = nodes + self.gate * (updated - nodes)
        return gated


def typed_edges(nodes: Tensor, mask: Tensor, window: int, neighbours: int) -> Tensor:
    """Edge type [B, N, N] of each pair (i receives from j); NONE where there is no edge or a side is padding."""
    B, N, d = nodes.shape
    place = torch.arange(N, device=nodes.device)
    ahead = (place.unsqueeze(0) - place.unsqueeze(1)).expand(B, N, N)  # j - i
    with torch.no_grad():
        unit = F.normalize(nodes, dim=-1)
        cosine = (unit @ unit.transpose(1, 2)).masked_fill(~mask.unsqueeze(1), -2.0)
        cosine = cosine.masked_fill(ahead == 0, -2.0)
        top = cosine.topk(min(neighbours, N), dim=-1)
        near = torch.zeros(B, N, N, dtype=torch.bool, device=nodes.device).scatter_(2, top.indices, top.values > -1.5)
    edges = torch.full((B, N, N), NONE, device=nodes.device)
    edges[near] = CONTEXT
    edges[(ahead > 0) & (ahead <= window)] = FORWARD
    edges[(ahead < 0) & (ahead >= -window)] = BACKWARD
    edges[:, 1:, 0], edges[:, 0, 1:] = FROM_GLOBAL, TO_GLOBAL
    edges[ahead == 0] = SELF
    return edges.masked_fill(~(mask.unsqueeze(1) & mask.unsqueeze(2)), NONE)
