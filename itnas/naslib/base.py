"""What our methods share as NASLib optimizers: a native method of :mod:`itnas.optimizers` drives a NASLib graph. Needs NASLib.

Steps, scores and selections are the native methods'; here are only NASLib's names for them, the rewriting of edges, and what
NASLib's Trainer does not do: keep the scores in its checkpoints, and hand data to the selection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from naslib.optimizers.core.metaclasses import MetaOptimizer  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.nn import functional as F

from itnas.errors import UserError
from itnas.naslib.batches import Batches
from itnas.naslib.configure import configure
from itnas.naslib.discretize import forget_outputs, keep_largest, unparsed
from itnas.naslib.edges import MixedEdge
from itnas.naslib.genotypes import TableQuery
from itnas.naslib.layout import read_layout
from itnas.naslib.supernet import GraphSupernet, SavedScores
from itnas.nn.mixing import Alphas
from itnas.optimizers import METHODS, MethodConfig, Optimizer
from itnas.optimizers.base import Batch


class GraphOptimizer(MetaOptimizer):
    """A native method on a NASLib graph.

    Attributes:
        graph: the adapted NASLib graph, which NASLib's Trainer trains, saves and evaluates.
        method: the native method; ``method.graph`` sees the same graph as a supernet.
        op_optimizer: the optimizer of the graph's weights, whose learning rate the Trainer schedules.
    """

    using_step_function = True
    method_name: ClassVar[str]
    """The native method's name in ``itnas.optimizers.METHODS``."""

    def __init__(self, config: Any = None, *, remember: int = 16, nesterov: bool = True, **keywords: Any) -> None:  # noqa: ANN401
        """Configure the method.

        Args:
            config: the native method's configuration, or NASLib's whole configuration as its old runners hand it over.
            remember: training and validation batches of the last steps that are kept for the selection, which NASLib's
                Trainer gives no data; see also :meth:`use_data`.
            nesterov: Nesterov momentum, as NASLib's own optimizers have.
            keywords: ``**config.search`` of NASLib. `learning_rate`, `momentum`, `weight_decay`, `grad_clip`,
                `arch_learning_rate`, `arch_weight_decay` and `unrolled` (second order) replace what `config` says, `epochs`
                tells when the last epoch is; all others belong to other optimizers and are ignored.
        """
        super().__init__()
        if config is not None and not isinstance(config, MethodConfig):
            config, keywords = None, {**config.search, **keywords}
        method, default = METHODS[self.method_name]
        self.config = configure(config or default, keywords, nesterov=nesterov)
        self.method: Optimizer = method(self.config, device="cuda:0" if torch.cuda.is_available() else "cpu")
        self.epochs = keywords.get("epochs")
        self.epoch = 0
        self.train_data, self.valid_data = Batches(remember), Batches(remember)
        self.remembers = True
        self.selected: tuple[int, dict[str, np.ndarray]] | None = None

    # -- the supernet --

    def adapt_search_space(
        self,
        search_space: Any,  # noqa: ANN401 - a NASLib graph
        dataset: str | None = None,
        scope: Any = None,  # noqa: ANN401 - NASLib's scope
        dataset_api: Any = None,  # noqa: ANN401
        **ignored: Any,  # noqa: ANN401
    ) -> None:
        """Build the supernet from a copy of ``search_space``, which stays as it was.

        Args:
            search_space: a NASLib search space with lists of primitives on its edges.
            dataset: kept as an attribute.
            scope: which cells to search, by default the space's ``OPTIMIZER_SCOPE``.
            dataset_api: not used; accepted because some of NASLib's runners pass it.
            ignored: whatever other optimizers take.

        Raises:
            UserError: there is nothing to search in scope.
        """
        self.search_space, self.dataset = search_space, dataset
        graph = search_space.clone()
        self.scope = scope or graph.OPTIMIZER_SCOPE
        space, edges = read_layout(graph, self.scope)
        self.method.space = space
        before = torch.get_rng_state()
        make_mixing = self.method.make_mixing(space)
        torch.set_rng_state(before)
        self.supernet = self.method.graph = GraphSupernet(graph, edges, space, make_mixing)
        self.saved = SavedScores(space, self)
        graph.add_module("itnas_scores", self.saved)
        self.graph = graph
        self._draw_alphas()
        self.method.op_optimizer = self.method.get_op_optimizer()
        self.method.generator.manual_seed(torch.initial_seed())
        graph.train()

    def _draw_alphas(self) -> None:
        """Draw the initial alphas in the order in which NASLib's DARTS draws them, so that a seed means the same in both."""
        alphas = self._alphas()
        with torch.no_grad():
            for (group, choice), order in self.supernet.order.items():
                if group in alphas:
                    alphas[group].logits[choice] = 1e-3 * torch.randn(len(order))[list(order)]

    def _alphas(self) -> dict[str, Alphas]:
        """Return the method's alphas by group, none where it has none."""
        return getattr(self.method, "alphas", {})

    @property
    def op_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the graph's weights."""
        return self.method.op_optimizer

    @property
    def architectural_weights(self) -> list[Tensor]:
        """The alphas, one tensor ``[operation]`` per edge in NASLib's orders; empty for methods that have none."""
        alphas = self._alphas()
        return [self._in_their_order(alphas[g].logits, g, c) for g, c in self.supernet.order if g in alphas]

    def _in_their_order(self, values: Tensor, group: str, choice: int) -> Tensor:
        order = self.supernet.order[group, choice]
        theirs = torch.empty_like(values[choice].detach())
        theirs[list(order)] = values[choice].detach()
        return theirs

    # -- training --

    def before_training(self) -> None:
        """Move everything to the device; a graph that was put in the place of the supernet's is moved alone."""
        if hasattr(self, "saved"):
            self.method.before_training()
        else:
            self.graph.to(self.method.device)

    def new_epoch(self, epoch: int) -> None:
        """Tell the method which epoch begins."""
        self.epoch = epoch
        self.method.new_epoch(epoch)
        self._show_alphas()

    def step(self, data_train: Batch, data_val: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Take one step of the method.

        Returns:
            Detached ``(logits_train, logits_val, loss_train, loss_val)``; methods that train on the training batch alone
            have the last validated, in evaluation mode, for the Trainer's statistics.
        """
        if self.remembers:
            self.train_data.add(data_train)
            self.valid_data.add(data_val)
        if not self.graph.training:
            self.graph.train()
        logits, logits_val, loss, loss_val = self.method.step(data_train, data_val)
        self.saved.trained += 1
        if logits_val is None or loss_val is None:
            logits_val, loss_val = self._validated(data_val)
        return logits, logits_val, loss, loss_val

    @torch.no_grad()
    def _validated(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self.graph.eval()
        logits = self.graph(batch[0])
        self.graph.train()
        return logits, F.cross_entropy(logits, batch[1])

    def use_data(self, train: Iterable[Batch], valid: Iterable[Batch]) -> None:
        """Let the selection see this data, such as the Trainer's whole loaders, and not the last batches of the steps.

        Args:
            train: batches to fine-tune on (DARTS-PT).
            valid: batches to measure on.
        """
        self.train_data, self.valid_data = Batches.of(train), Batches.of(valid)
        self.remembers = False

    def after_training(self) -> None:
        """Select, if the last checkpoint did not ask for the selection already."""
        self.method.after_training()
        self.update_scores(finished=True)
        self._write_alphas(self.graph, self.current_scores())

    # -- choosing --

    def update_scores(self, *, finished: bool | None = None) -> None:
        """Bring the saved scores up to date, and select if training is over; the supernet stays as it is.

        Called before every checkpoint, so that the last one holds the selection. An architecture derived while the last epoch
        is under way is selected from the supernet as it is then.

        Args:
            finished: whether training is over; by default, whether the last epoch has begun to be trained.
        """
        over = self.epochs is not None and self.epoch + 1 >= self.epochs if finished is None else finished
        if self.saved.is_current() and (bool(self.saved.decided) or not over):
            return
        trained = int(self.saved.trained)
        if trained == 0 and not self._alphas():
            return  # nothing to read scores from yet
        with self._undisturbed():
            scores, decided = self._measure(over)
        self.saved.put(scores, decided=decided)
        if decided:
            self.selected = (trained, scores)

    def _measure(self, finished: bool) -> tuple[dict[str, np.ndarray], bool]:
        """Return what the alphas of the discretized graph shall be, and whether that is the final selection."""
        self.method.validate(self.valid_data)
        return self._barred(self.method.scores()), finished

    def _barred(self, scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return scores with `none` at minus infinity where the method's own rule excludes it."""
        result = {group: np.array(values, dtype=float) for group, values in scores.items()}
        if self.config.exclude_none:
            for group, choices in self.method.space.groups.items():
                for number, choice in enumerate(choices):
                    if "none" in choice.candidates:
                        result[group][number, choice.candidates.index("none")] = -np.inf
        return result

    def _as_scores(self, genotype: str) -> dict[str, np.ndarray]:
        """Return scores from which every rule derives ``genotype``: 1 at what it keeps, 0 elsewhere."""
        space = self.method.space
        scores = {g: np.zeros((len(choices), len(choices[0].candidates))) for g, choices in space.groups.items()}
        for group, kept in space.chosen(genotype).items():
            for number, candidates in enumerate(kept):
                scores[group][number, list(candidates)] = 1
        return scores

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Restore the mode and the weights of the graph, the optimizers' state and every generator afterwards."""
        training, generator = self.graph.training, self.method.generator.get_state()
        with torch.random.fork_rng():
            yield
        self.method.generator.set_state(generator)
        self.graph.train(training)

    def current_scores(self) -> dict[str, np.ndarray]:
        """Return the scores ``{group: [choice, candidate]}`` that the architecture is derived from, in our orders.

        Raises:
            UserError: there are none: nothing was trained, and no checkpoint loaded.
        """
        if self.selected is not None and self.selected[0] == int(self.saved.trained) and not self.saved.decided:
            return self.selected[1]  # the last checkpoint was loaded again, and could not hold the selection
        if not self.saved.is_current():
            self.update_scores()
        if int(self.saved.measured) < 0:
            raise UserError(
                f"{type(self).__name__} has no scores yet to derive an architecture from; search first, or load a checkpoint"
            )
        return self.saved.get()

    def get_final_architecture(self) -> Any:  # noqa: ANN401 - a NASLib graph
        """Return the derived architecture as a parsed graph with one primitive per edge; the supernet stays as it is.

        The scores become the edges' ``alpha``, and the space's own discretization and topology rules apply.
        """
        scores = self.current_scores()
        forget_outputs(self.graph)
        graph = self.graph.clone()
        self._write_alphas(graph, scores)
        final = unparsed(graph)
        final.prepare_discretization()
        final.update_edges(keep_largest, scope=self.scope, private_edge_data=True)
        final.prepare_evaluation()
        final.parse()
        if hasattr(final, "get_hash") and final.QUERYABLE:
            final.query = TableQuery(final)
        return final.to(self.method.device)

    def _write_alphas(self, graph: Any, scores: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Make scores ``{group: [choice, candidate]}`` the shared ``alpha`` of a graph's edges, in NASLib's order."""
        tensors = {group: torch.as_tensor(values) for group, values in scores.items()}

        def write(edge: Any) -> None:  # noqa: ANN401 - NASLib's edge
            if isinstance(edge.data.op, MixedEdge):
                site = edge.data.op.mixing.site
                alpha = self._in_their_order(tensors[site.group], site.group, site.choices[0])
                edge.data.set("alpha", alpha, shared=True)

        graph.update_edges(write, scope=self.scope, private_edge_data=False)

    def _show_alphas(self) -> None:
        """Put the alphas, of a method that has them, where NASLib's plots and prints look for them."""
        if self._alphas():
            self._write_alphas(self.graph, {group: alphas.logits for group, alphas in self._alphas().items()})

    # -- the rest of NASLib's contract --

    def get_op_optimizer(self) -> type[torch.optim.Optimizer]:
        """Return the class of the weights' optimizer."""
        return type(self.op_optimizer)

    def get_checkpointables(self) -> dict[str, Any]:
        """Return the graph as `model`, and what else the method would checkpoint (NASLib's Trainer saves the graph only)."""
        return {**self.method.get_checkpointables(), "model": self.graph}

    def get_model_size(self) -> float:
        """Return the weights of the supernet in millions, alphas not counted."""
        alphas = {id(alphas.logits) for alphas in self._alphas().values()}
        return sum(p.numel() for p in self.graph.parameters() if id(p) not in alphas) / 1e6

    def test_statistics(self) -> None:
        """Nothing is measured on test data during a search."""
