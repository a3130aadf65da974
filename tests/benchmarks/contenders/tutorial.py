"""Contender: what most people would write, in the manner of PyTorch's own MNIST example.

A DataLoader makes every image from its bytes (PIL, ToTensor, Normalize) whenever it is needed; one trial runs after
another in one process, with as many threads as PyTorch takes by default.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from contenders.common import Evaluation, Job, Share, Trained, initialized, main, order, train_share
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from initbench.datasets import Dataset, open_split
from initbench.datasets.torchvision_sets import import_torchvision
from initbench.records.recipe import Trial

import_torchvision()  # also where its compiled operators do not fit the installed torch
from torchvision import transforms  # noqa: E402 - see above


class Images(TorchDataset):
    """Images as torchvision's MNIST and CIFAR10 keep and give them."""

    def __init__(self, dataset: Dataset, transform: transforms.Compose) -> None:
        images, labels = open_split(dataset, "train")
        pixels = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.data = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        self.targets = torch.from_numpy(labels)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), int(self.targets[index])


class Order(Sampler[int]):
    """The order that all contenders follow, where the example would have `shuffle=True`."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed, self.epoch = dataset, seed, -1

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(order(self.dataset, self.seed, self.epoch).tolist())

    def __len__(self) -> int:
        return self.dataset.train_size


def train(trial: Trial, dataset: Dataset, job: Job) -> Trained:
    model = initialized(trial, dataset)
    evaluation = Evaluation(trial, dataset)
    transform = transforms.Compose(
        [
            transforms.ToTensor(),
            transforms.Normalize([mean / 255 for mean in dataset.mean], [std / 255 for std in dataset.std]),
        ]
    )
    loader = DataLoader(
        Images(dataset, transform),
        batch_size=trial.batch_size,
        sampler=Order(dataset, trial.seed),
        num_workers=job.loader_workers,
        drop_last=True,
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=trial.lr)
    step = samples = 0
    started = time.perf_counter()
    evaluation.after(step, model)
    model.train()
    while step < trial.steps:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            step += 1
            samples += len(labels)
            evaluation.after(step, model)
            if step == trial.steps:
                break
    final = evaluation.finally_(model)
    seconds = time.perf_counter() - started
    return Trained(trial.id, step, samples, evaluation.evaluated, evaluation.curve, final, seconds)


def run(job: Job) -> list[Share]:
    return [train_share(train, job.trials, job)]


def layout(job: Job) -> str:
    return f"1 process × {torch.get_num_threads()} threads, DataLoader workers: {job.loader_workers}"


if __name__ == "__main__":
    main(run, layout)
