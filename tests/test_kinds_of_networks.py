"""Networks of fifteen kinds: what `inspect` measures is what plain hooks of torch see, forward and backward."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from initbench.core.randomness import generator, isolated
from initbench.signals import Batch, observe, weight_moments

N, T, D = 24, 6, 16  # images, steps, width


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def tokens(*shape, below=20):
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(1))


def conv(inputs, outputs, stride=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Detection(nn.Module):
    """A pyramid of features, and heads that all its levels share: returns scores and boxes."""

    def __init__(self):
        super().__init__()
        self.boxes, self.scores = nn.Conv2d(D, 4, 3, padding=1), nn.Conv2d(D, 5, 3, padding=1)
        self.down = nn.ModuleList([conv(3, 8, 2), conv(8, D, 2)])
        self.side = nn.ModuleList([nn.Conv2d(8, D, 1), nn.Conv2d(D, D, 1)])

    def forward(self, x):
        first = self.down[0](x)
        top = self.side[1](self.down[1](first))
        levels = self.side[0](first) + functional.interpolate(top, scale_factor=2), top
        return [self.scores(level) for level in levels], [self.boxes(level) for level in levels]


class Segmentation(nn.Module):
    """A U-Net: its decoder gets what its encoder saw."""

    def __init__(self):
        super().__init__()
        self.enter, self.deep, self.out = conv(3, 8), conv(8, 16), nn.Conv2d(16, 4, 1)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)

    def forward(self, x):
        skip = self.enter(x)
        return self.out(torch.cat([skip, self.up(self.deep(functional.max_pool2d(skip, 2)))], dim=1))


class Language(nn.Module):
    """A causal transformer whose head is its embedding."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(20, D), nn.Embedding(T, D)
        self.norm, self.qkv, self.mix = nn.LayerNorm(D), nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.mlp = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 2 * D), nn.GELU(), nn.Linear(2 * D, D))

    def forward(self, words):
        x = self.words(words) + self.places(torch.arange(words.shape[1]))
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (2, -1)).transpose(1, 2).chunk(3, dim=-1)
        x = x + self.mix(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return functional.linear(x + self.mlp(x), self.words.weight)


class Graph(nn.Module):
    """Convolutions on a graph given as a sparse matrix; rows are nodes."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, D), nn.Linear(D, 5)

    def forward(self, x, edges):
        links = torch.sparse_coo_tensor(edges, torch.ones(edges.shape[1]), (len(x), len(x)), check_invariants=False)
        return torch.sparse.mm(links, self.second(functional.elu(torch.sparse.mm(links, self.first(x)))))


class Points(nn.Module):
    """Point sets: the same layers for every point, then a maximum; a small network aligns the points."""

    def __init__(self):
        super().__init__()
        self.align, self.point = nn.Linear(3, 9), nn.Sequential(nn.Conv1d(3, D, 1), nn.ReLU(), nn.Conv1d(D, 32, 1))
        self.head = nn.Linear(32, 5)

    def forward(self, x):  # (n, points, 3)
        turned = torch.bmm(x, self.align(x.mean(1)).view(-1, 3, 3) + torch.eye(3))
        return self.head(self.point(turned.transpose(1, 2)).amax(-1))


class Speech(nn.Module):
    """Convolution over time, a bidirectional GRU on packed sequences of other lengths, time-major outputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.rnn, self.head = (
            nn.Conv1d(8, D, 3, padding=1),
            nn.GRU(D, 8, bidirectional=True),
            nn.Linear(D, 7),
        )

    def forward(self, x):
        x = functional.hardtanh(self.conv(x), 0, 20).permute(2, 0, 1)
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.arange(N) % T + 1, enforce_sorted=False)
        return self.head(nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])[0]).log_softmax(-1)


def discriminator():
    layers = [spectral_norm(nn.Conv2d(i, o, 4, 2, 1)) for i, o in ((3, 8), (8, 16))]
    act = nn.LeakyReLU(0.2)
    return nn.Sequential(layers[0], act, layers[1], act, nn.Flatten(), spectral_norm(nn.Linear(64, 1)))


class Autoencoder(nn.Module):
    """A variational one: it draws, and returns the image with mean and variance of its code."""

    def __init__(self):
        super().__init__()
        self.decode = nn.Sequential(nn.Linear(4, D), nn.Softplus(), nn.Linear(D, 192), nn.Sigmoid())
        self.encode, self.mean, self.variance = nn.Linear(192, D), nn.Linear(D, 4), nn.Linear(D, 4)

    def forward(self, x):
        hidden = torch.tanh(self.encode(x.flatten(1)))
        mean, variance = self.mean(hidden), self.variance(hidden)
        return {"image": self.decode(mean + torch.randn_like(mean) * (variance / 2).exp()), "code": (mean, variance)}


class Flow(nn.Module):
    """Couplings of a normalizing flow, with an invertible 1×1 convolution made of a bare parameter."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.linalg.qr(drawn(8, 8))[0])
        self.nets = nn.ModuleList(nn.Sequential(nn.Linear(4, D), nn.SiLU(), nn.Linear(D, 8)) for _ in range(2))

    def forward(self, x):
        log = torch.linalg.slogdet(self.mix)[1] * x.new_ones(len(x))
        for net in self.nets:
            kept, moved = (x @ self.mix).chunk(2, dim=1)
            scale, shift = net(kept).chunk(2, dim=1)
            x, log = torch.cat([moved * scale.tanh().exp() + shift, kept], dim=1), log + scale.tanh().sum(1)
        return x, log


class Recommender(nn.Module):
    """Two towers of embeddings, one of them a bag, and their scalar product."""

    def __init__(self):
        super().__init__()
        self.user, self.items = nn.Embedding(20, D, sparse=True), nn.EmbeddingBag(20, D)
        self.towers, self.bias = nn.ModuleList([nn.Linear(D, D), nn.Linear(D, D)]), nn.Embedding(20, 1)

    def forward(self, user, items):
        left, right = self.towers[0](self.user(user)), self.towers[1](self.items(items))
        return (left * right).sum(-1) + self.bias(user)[:, 0]


class Siamese(nn.Module):
    """One encoder for two inputs."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, D))

    def forward(self, x, y):
        return functional.cosine_similarity(self.encode(x), self.encode(y))


class Mixture(nn.Module):
    """The two best of four experts for each row, and the density that they mix."""

    def __init__(self):
        super().__init__()
        self.gate, self.experts = nn.Linear(8, 4), nn.ModuleList(nn.Linear(8, 6) for _ in range(4))

    def forward(self, x):
        weights, chosen = self.gate(x).softmax(-1).topk(2)
        out = x.new_zeros(len(x), 6)
        for i, expert in enumerate(self.experts):
            rows, place = (chosen == i).nonzero(as_tuple=True)
            out = out.index_add(0, rows, expert(x[rows]) * weights[rows, place, None])
        mean, spread = out.chunk(2, dim=1)
        return mean, functional.softplus(spread)


class SuperResolution(nn.Module):
    """Residual blocks scaled down, pixels shuffled into place."""

    def __init__(self):
        super().__init__()
        self.enter, self.out = nn.Conv2d(3, D, 3, padding=1), nn.Conv2d(D, 12, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(D, D, 3, padding=1), nn.PReLU()) for _ in range(2))

    def forward(self, x):
        x = self.enter(x)
        for block in self.blocks:
            x = x + 0.1 * block(x)
        return functional.pixel_shuffle(self.out(x), 2)


class Series(nn.Module):
    """Dilated causal convolutions with weight_norm and gates, and a cell that runs step by step."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(nn.Conv1d(8, 16, 2, dilation=d)) for d in (1, 2))
        self.cell, self.head = nn.LSTMCell(8, D), nn.Linear(D, 3)

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = x + functional.glu(layer(functional.pad(x, (2**i, 0))), dim=1)
        state = None
        for step in x.unbind(-1):
            state = self.cell(step, state)
        return self.head(state[0])


class Perceiver(nn.Module):
    """Learned latents attend to patches; rows of the first layers are no images."""

    def __init__(self):
        super().__init__()
        self.latents, self.before = nn.Parameter(drawn(5, D)), nn.Linear(D, D)
        self.patch, self.attend = nn.Conv2d(3, D, 4, 4), nn.MultiheadAttention(D, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(D, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(D, 5)

    def forward(self, x):
        patches, asked = self.patch(x).flatten(2).transpose(1, 2), self.before(self.latents).expand(len(x), -1, -1)
        return self.head(self.layer(self.attend(asked, patches, patches)[0]).mean(1))


IMAGE, VECTOR = drawn(N, 3, 8, 8), drawn(N, 8)
KINDS = {
    "detection": (Detection, (IMAGE,)),
    "segmentation": (Segmentation, (IMAGE,)),
    "language": (Language, (tokens(N, T),)),
    "graph": (Graph, (VECTOR, tokens(2, 60, below=N))),
    "points": (Points, (drawn(N, 10, 3),)),
    "speech": (Speech, (drawn(N, 8, T),)),
    "discriminator": (discriminator, (IMAGE,)),
    "autoencoder": (Autoencoder, (IMAGE,)),
    "flow": (Flow, (VECTOR,)),
    "recommender": (Recommender, (tokens(N), tokens(N, 4))),
    "siamese": (Siamese, (IMAGE, IMAGE.flip(0))),
    "mixture": (Mixture, (VECTOR,)),
    "super-resolution": (SuperResolution, (IMAGE,)),
    "series": (Series, (drawn(N, 8, T),)),
    "perceiver": (Perceiver, (IMAGE,)),
}
LAYERS = nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.LayerNorm, nn.BatchNorm2d
MEASURED = (*LAYERS, nn.Embedding, nn.EmbeddingBag, nn.GRU, nn.LSTMCell, nn.MultiheadAttention)


def flat(nest):
    if isinstance(nest, torch.Tensor):
        return [nest]
    parts = nest.values() if isinstance(nest, dict) else nest if isinstance(nest, tuple | list) else ()
    return [tensor for part in parts for tensor in flat(part)]


def hooked(model, inputs):
    """Return (E[z²], E[(∂z)²]) of each use of a layer by its name, and the mean square of each gradient, by hooks."""
    forward, backward = {}, {}

    def note(name):
        def hook(_module, _inputs, output):
            z = flat(output)[0]
            uses = sum(key.partition("#")[0] == name for key in forward)
            key = f"{name}#{uses + 1}" if uses else name
            forward[key] = z.detach().double().square().mean().item()
            if z.requires_grad:
                z.register_hook(lambda g: backward.update({key: g.double().square().mean().item()}))

        return hook

    for name, module in model.named_modules():
        if isinstance(module, MEASURED) and "out_proj" not in name:
            module.register_forward_hook(note(name))
    with isolated(0):
        outputs = [output for output in flat(model(*inputs)) if output.requires_grad]
    keyed = generator(outputs[0].numel(), "cotangent")
    if outputs[0].ndim == 2 and outputs[0].shape[1] > 1:
        labels = torch.randint(outputs[0].shape[1], (len(outputs[0]),), generator=keyed)
        functional.cross_entropy(outputs[0], labels).backward()
    else:
        sum((output * torch.randn(output.shape, generator=keyed)).sum() / N for output in outputs).backward()
    with_grad = {name: p.grad.to_dense() for name, p in model.named_parameters() if p.grad is not None}
    return forward, backward, {name: grad.double().square().mean().item() for name, grad in with_grad.items()}


def differences(kind):
    """Return the largest relative difference of the moments forward and backward and of the weights' gradients."""
    make, inputs = KINDS[kind]
    with isolated(3):
        model = make().train()
    plain = copy.deepcopy(model)
    step_zero = observe(model, Batch(inputs), weight_moments(model, []))
    forward, backward, grads = hooked(plain, inputs)
    rows = {row.layer: row for row in step_zero.layers}
    assert forward.keys() <= rows.keys()
    without = {name for name, p in plain.named_parameters() if name not in grads}
    assert {*step_zero.unused, *step_zero.absent, *step_zero.detached} == without
    assert step_zero.unseen == ()
    pairs = [
        [(rows[name].forward_moment, value) for name, value in forward.items()],
        [(rows[name].gradient_moment, value) for name, value in backward.items()],
        [(rows[name].weight_gradient_moment, grads[f"{name}.weight"]) for name in rows if f"{name}.weight" in grads],
    ]
    return [max((abs(mine / theirs - 1) if theirs else mine for mine, theirs in part), default=0.0) for part in pairs]


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_sees_what_hooks_see(kind):
    assert max(differences(kind)) < 1e-5
