"""Switches of the image tasks: off, they change nothing; on, they do what they say."""

import copy
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gencomp_core.data.fashion_mnist import LabelledImages, load_split
from gencomp_core.evaluate.features import feature_spaces
from gencomp_core.evaluate.fid import frechet_distance
from gencomp_core.models import losses
from gencomp_core.models.vae import FashionVAE
from gencomp_core.training import image_batches, image_tasks
from gencomp_core.training.augmentation import N_CHANCES, diff_augment, random_flips, random_shifts
from gencomp_core.training.config import ClassifierTraining, DiffusionTraining, GANTraining, VAETraining
from gencomp_core.training.gan_task import GANTask
from gencomp_core.training.image_batches import FashionBatches, balanced_index, to_unit_range
from gencomp_core.training.image_tasks import DiffusionTask, VAETask
from gencomp_core.training.loop import WEIGHTS_FILE, _Run, train
from gencomp_core.training.tasks import make_task

ALL = slice(0, 8)
POLICY = ("brightness", "translation", "cutout")


@pytest.fixture(autouse=True)
def _shipped_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped images stand for training and test images, which not every machine has."""
    for module in (image_batches, image_tasks):
        monkeypatch.setattr(module, "load_split", lambda split: load_split("subset"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def diffusion(**fields: object) -> DiffusionTask:
    task = make_task(DiffusionTraining.model_validate({"steps": 10, "batch_size": 8, "channels": (16, 16)} | fields))
    assert isinstance(task, DiffusionTask)
    with torch.no_grad():
        task.network.out.weight.normal_(generator=generator(7))  # it starts at zero, blind to its input
    return task


def gan(**fields: object) -> GANTask:
    config = {"steps": 10, "batch_size": 8, "channels": (16, 16, 16), "latent_dim": 4} | fields
    task = make_task(GANTraining.model_validate(config))
    assert isinstance(task, GANTask)
    return task


def vae(**fields: object) -> VAETask:
    config = {"steps": 10, "batch_size": 8, "channels": (16, 16), "latent_dim": 4} | fields
    task = make_task(VAETraining.model_validate(config))
    assert isinstance(task, VAETask)
    return task


def networks_of(task: GANTask | DiffusionTask | VAETask) -> Mapping[str, nn.Module]:
    return {player.name: player.network for player in task.players}


# --- switches that are off


def plain_draw(draws: torch.Generator) -> tuple[Tensor, Tensor]:
    train_images = load_split("subset")
    index = torch.randint(0, len(train_images), (8,), generator=draws)
    return train_images.images[index], train_images.labels[index]


def test_the_diffusion_loss_draws_as_it_always_did() -> None:
    task, ours, draws = diffusion(), generator(3), generator(3)
    loss = task.loss(networks_of(task), 3, ours, ALL)
    images, labels = plain_draw(draws)
    flip = torch.rand(8, generator=draws) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    noise = torch.randn(images.shape, generator=draws)
    t = torch.randn(8, generator=draws).sigmoid()
    labels = torch.where(torch.rand(8, generator=draws) < 0.1, 10, labels)
    clean, when = images.float() / 127.5 - 1, t[:, None, None, None]
    velocity = task.network((1 - when) * clean + when * noise, t, labels)
    expected = (velocity - (noise - clean)).square().flatten(1).mean(1).mean()
    assert loss.item() == expected.item()
    assert torch.equal(ours.get_state(), draws.get_state())


def test_the_losses_of_both_gan_players_draw_as_they_always_did() -> None:
    task, ours, draws = gan(r1=0), generator(3), generator(3)
    networks = networks_of(task)
    critic, maker = copy.deepcopy(task.critic), copy.deepcopy(task.network)
    critic_loss = task.critic_loss(networks, 3, ours, ALL)
    images, labels = plain_draw(draws)
    flip = torch.rand(8, generator=draws) < 0.5
    real = torch.where(flip[:, None, None, None], images.flip(3), images).float() / 127.5 - 1
    noise = torch.randn(8, 4, generator=draws)
    torch.rand(8, generator=draws)  # where the penalty is taken
    scores = critic(real, labels), critic(maker(noise, labels), labels)
    expected = nn.functional.softplus(-scores[0]).mean() + nn.functional.softplus(scores[1]).mean()
    assert critic_loss.item() == expected.item()
    assert torch.equal(ours.get_state(), draws.get_state())

    generator_loss = task.generator_loss(networks, 3, ours, ALL)
    noise = torch.randn(8, 4, generator=draws)
    labels = torch.randint(0, 10, (8,), generator=draws)
    expected = nn.functional.softplus(-critic(maker(noise, labels), labels)).mean()
    assert generator_loss.item() == expected.item()
    assert torch.equal(ours.get_state(), draws.get_state())


def test_the_vae_loss_draws_as_it_always_did() -> None:
    task, ours, draws = vae(), generator(3), generator(3)
    loss = task.loss(networks_of(task), 3, ours, ALL)
    images, labels = plain_draw(draws)
    noise = torch.randn(8, 4, generator=draws)
    logits, mean, log_variance = task.network(to_unit_range(images), labels, noise)
    nll = losses.gaussian_nll_optimal_variance(logits.sigmoid(), images.float() / 255)
    assert loss.item() == pytest.approx((nll + losses.gaussian_kl(mean, log_variance).mean(0).sum()).item() / 784)
    assert torch.equal(ours.get_state(), draws.get_state())


# --- balanced batches


@given(st.lists(st.integers(1, 40), min_size=10, max_size=10), st.integers(1, 70), st.integers(0, 1000))
def test_classes_of_a_balanced_batch_differ_by_one_at_most(counts: list[int], n: int, seed: int) -> None:
    labels = torch.arange(10).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(seed))]
    index = balanced_index(labels, n, generator(seed))
    drawn = labels[index].bincount(minlength=10)
    assert len(index) == n
    assert drawn.max() - drawn.min() <= 1


def test_within_a_class_every_image_is_equally_likely_however_rare_the_class() -> None:
    sizes = torch.tensor([25, 10, 5])
    labels = torch.arange(3).repeat_interleave(sizes)[torch.randperm(40, generator=generator(1))]
    draws = generator(2)
    drawn = torch.stack([balanced_index(labels, 31, draws) for _ in range(2000)]).flatten()
    expected = 2000 * 31 / 3 / sizes[labels]
    found = drawn.bincount(minlength=40)
    assert ((found - expected).abs() < 5 * expected.sqrt()).all()


def test_the_odd_image_goes_to_any_class_and_the_order_is_random() -> None:
    labels, draws = torch.arange(10).repeat(5), generator(3)
    batches = torch.stack([labels[balanced_index(labels, 21, draws)] for _ in range(400)])
    thrice = torch.stack([batch.bincount(minlength=10).argmax() for batch in batches]).bincount(minlength=10)
    assert thrice.min() > 15
    assert (batches[:, 0] == batches[:, 10]).float().mean() < 0.2


def test_a_class_without_images_is_left_out() -> None:
    labels = torch.tensor([0, 2, 2, 5])
    assert labels[balanced_index(labels, 6, generator())].bincount().tolist() == [2, 0, 2, 0, 0, 2]


def test_the_same_seed_draws_the_same_balanced_batch() -> None:
    labels = load_split("subset").labels
    assert torch.equal(balanced_index(labels, 50, generator(4)), balanced_index(labels, 50, generator(4)))
    assert not torch.equal(balanced_index(labels, 50, generator(4)), balanced_index(labels, 50, generator(5)))


@pytest.mark.parametrize(
    "config",
    [
        ClassifierTraining(steps=1, batch_size=20, balanced=True),
        DiffusionTraining(steps=1, batch_size=20, channels=(16, 16), balanced=True),
        GANTraining(steps=1, batch_size=20, channels=(16, 16, 16), balanced=True),
        VAETraining(steps=1, batch_size=20, channels=(16, 16), balanced=True),
    ],
    ids=lambda config: config.network,
)
def test_every_image_task_can_draw_balanced_batches(config) -> None:
    for seed in range(3):
        images, labels = make_task(config).batches.draw_augmented(generator(seed))  # type: ignore[attr-defined]
        assert images.shape == (20, 1, 28, 28)
        assert labels.bincount(minlength=10).tolist() == [2] * 10


# --- flips and shifts


@pytest.mark.parametrize("flips", [True, False])
@pytest.mark.parametrize("shifts", [0, 3])
def test_batches_are_mirrored_and_shifted_as_asked(flips: bool, shifts: int) -> None:
    batches, draws = FashionBatches(16, flips=flips, shifts=shifts), generator(5)
    images, labels = batches.draw_augmented(generator(5))
    expected, same_labels = batches.draw(draws)
    if flips:
        expected = random_flips(expected, draws)
    if shifts:
        expected = random_shifts(expected, 3, draws)
    assert torch.equal(images, expected)
    assert torch.equal(labels, same_labels)


@pytest.mark.parametrize(("make", "flips"), [(diffusion, True), (gan, True), (vae, False)])
def test_tasks_hand_their_switches_to_the_batches(make, flips: bool) -> None:
    assert make().batches.flips is flips
    assert make().batches.shifts == 0
    other = make(flips=not flips, shifts=2).batches
    assert (other.flips, other.shifts) == (not flips, 2)


# --- curriculum


def test_the_diffusion_task_starts_at_low_noise() -> None:
    task = diffusion(curriculum=0.5, batch_size=500)
    seen = []
    task.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[1]))
    for step in (0, 5):
        task.loss(networks_of(task), step, generator(), slice(0, 500))
    assert seen[0].median().item() == pytest.approx(torch.tensor(losses.CURRICULUM_START).sigmoid().item(), abs=0.02)
    assert seen[1].median().item() == pytest.approx(0.5, abs=0.03)


# --- adversarial switches


class Onlooker(nn.Module):
    """A critic that scores images by their mean and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        self.seen.append((images, labels))
        return self.weight * images.flatten(1).mean(1)


def watched(task: GANTask, *, seed: int, shares: tuple[slice, ...] = (ALL,)) -> list[tuple[Tensor, Tensor]]:
    """Images and labels that the critic sees, share by share: (real, generated, generated for the generator) each."""
    task.network.eval()  # batch norm would tie an image to its share
    onlooker = Onlooker()
    networks = {"critic": onlooker, "generator": task.network}
    for share in shares:
        draws = generator(seed)
        task.critic_loss(networks, 1, draws, share)
        task.generator_loss(networks, 1, draws, share)
    return onlooker.seen


def test_the_critic_sees_all_images_through_the_same_augmentations() -> None:
    task, draws = gan(augment=POLICY, flips=False), generator(6)
    (real, _), (fake, _), (again, _) = watched(task, seed=6)
    images, labels = plain_draw(draws)
    noise = torch.randn(8, 4, generator=draws)
    torch.rand(8, generator=draws)
    chances = [torch.rand(8, N_CHANCES, generator=draws) for _ in range(2)]
    assert torch.equal(real, diff_augment(to_unit_range(images), POLICY, chances[0]))
    assert torch.equal(fake, diff_augment(task.network(noise, labels), POLICY, chances[1]))
    noise, labels = torch.randn(8, 4, generator=draws), torch.randint(0, 10, (8,), generator=draws)
    chances = [torch.rand(8, N_CHANCES, generator=draws)]
    assert torch.equal(again, diff_augment(task.network(noise, labels), POLICY, chances[0]))


def test_augmented_images_teach_the_generator() -> None:
    task = gan(augment=POLICY)
    task.generator_loss(networks_of(task), 1, generator(), ALL).backward()
    assert all(parameter.grad is not None for parameter in task.network.parameters())
    assert task.network.out.weight.grad.abs().max() > 0


def test_two_shares_are_augmented_like_the_whole_batch() -> None:
    task = gan(augment=POLICY)
    whole = watched(task, seed=7)
    halves = watched(task, seed=7, shares=(slice(0, 4), slice(4, 8)))
    for i in range(3):
        joined = torch.cat([halves[i][0], halves[i + 3][0]])
        torch.testing.assert_close(joined, whole[i][0], rtol=0, atol=1e-6)


def test_mode_seeking_compares_images_of_the_same_class_and_adds_its_weight() -> None:
    task, plain = gan(mode_seeking=2.0), gan()
    made = []
    task.network.register_forward_hook(lambda module, inputs, image: made.append((*inputs, image)))
    onlooker = Onlooker()
    loss = task.generator_loss({"critic": onlooker, "generator": task.network}, 1, generator(8), ALL)
    noise, labels, images = made[0]
    assert torch.equal(labels[:4], labels[4:])
    assert torch.equal(onlooker.seen[0][1], labels)
    ratio = (images[:4] - images[4:]).abs().mean() / (noise[:4] - noise[4:]).abs().mean()
    adversarial = nn.functional.softplus(-images.flatten(1).mean(1)).mean()
    assert loss.item() == pytest.approx((adversarial + 2 / (ratio + 1e-5)).item(), rel=1e-5)
    without = watched(plain, seed=8)[2][1]
    assert not torch.equal(without[:4], without[4:])


def test_switches_of_the_shape_reach_the_networks() -> None:
    task = gan(depth=2, spectral_norm=True)
    assert (task.network.config.depth, task.critic.config.spectral_norm) == (2, True)
    assert "stem.parametrizations.weight.original" in task.critic.state_dict()


def test_a_gan_with_every_switch_on_resumes_to_bit_identical_weights(tmp_path: Path) -> None:
    config = GANTraining(
        steps=3,
        batch_size=8,
        channels=(16, 16, 16),
        depth=2,
        spectral_norm=True,
        penalty_every=1,
        mode_seeking=1.0,
        augment=POLICY,
        balanced=True,
        shifts=2,
        validate_every=3,
        save_every=1,
    )
    list(train(config, tmp_path / "straight"))
    (tmp_path / "interrupted").mkdir()
    run = _Run(config, tmp_path / "interrupted")
    run.step(0)
    run.save_state(1)
    list(train(config, tmp_path / "interrupted"))
    for name in (WEIGHTS_FILE, "critic.safetensors"):
        assert (tmp_path / "interrupted" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


# --- validation by FID


def fid_by_hand(brightness: Tensor) -> float:
    """Closed form of the distance between two Gaussians."""
    space = feature_spaces["fashion"]
    features = space.extract((brightness.clamp(0, 1) * 255).round().to(torch.uint8)).double()
    real = space.reference()
    distance = frechet_distance(features.mean(0)[None], features.T.cov()[None], real.mean, real.covariance)
    return distance.item()


@torch.no_grad()
def test_the_diffusion_task_reports_the_fid_of_eight_euler_steps() -> None:
    task = diffusion(validate_fid=120)
    x, labels = torch.randn(120, 1, 28, 28, generator=generator()), torch.arange(120) % 10
    for step in range(8):
        x = x - task.network(x, torch.full((120,), 1 - step / 8), labels) / 8
    figures = task.validate(task.network)
    assert figures.keys() == {"held_out_loss", "fid"}
    assert figures["fid"] == pytest.approx(fid_by_hand((x + 1) / 2), rel=1e-3)


@torch.no_grad()
def test_the_vae_task_reports_the_fid_of_its_fitted_prior_and_leaves_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = vae(validate_fid=120)
    network = task.network.eval()
    network.posterior.weight.mul_(20)  # untrained, it hardly looks at the image
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shipped = load_split("subset")
    more = LabelledImages(torch.cat([shipped.images, 255 - shipped.images[:900]]), shipped.labels.repeat(2)[:10_900])
    monkeypatch.setattr(task.batches, "train", more)
    figures = task.validate(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    fitted = copy.deepcopy(network)
    assert isinstance(fitted, FashionVAE)
    monkeypatch.setattr(task.batches, "train", shipped)  # the first 10,000
    task.finish(fitted)
    labels = torch.arange(120) % 10
    samples = fitted.generate(torch.randn(120, 4, generator=generator()), labels)
    assert figures.keys() == {"held_out_reconstruction", "held_out_kl", "fid"}
    assert figures["fid"] == pytest.approx(fid_by_hand(samples), rel=1e-3)


def test_the_fid_decides_which_weights_are_best_where_it_is_reported() -> None:
    assert diffusion().badness({"held_out_loss": 2.0, "fid": 7.0}) == 7
    assert diffusion().badness({"held_out_loss": 2.0}) == 2
    bound = {"held_out_reconstruction": -900.0, "held_out_kl": 20.0}
    assert vae().badness(bound | {"fid": 7.0}) == 7
    assert vae().badness(bound) == -880


@torch.no_grad()
def test_without_it_validation_does_not_sample() -> None:
    assert diffusion().validate(diffusion().network).keys() == {"held_out_loss"}
    assert vae().validate(vae().network).keys() == {"held_out_reconstruction", "held_out_kl"}
