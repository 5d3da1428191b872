"""A whole lab: images, key, cards, inventory, network, nodes; up, down and what lies between."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lab import cards, recipe
from lab.addresses import LabNet, hardware_address
from lab.engine import Container, Docker
from lab.errors import LabError
from lab.extras import take_over
from lab.image import Builder
from lab.interrupt import Interrupted
from lab.login import first_login
from lab.network import RESERVATIONS, Network
from lab.nodes import Boards, Node
from lab.state import Folder, State, clusters, private_folder
from lab.stranger import Stranger, Target
from picluster.inventory.plan import forget_host_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lab.engine import Engine
    from lab.report import Reporter

DEFAULT_NET = "192.168.63.0/24"
# Between two looks at nodes that may have switched themselves off.
ATTEND_SECONDS = 1.0


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    cluster: str
    count: int
    net: LabNet
    suites: tuple[str, ...]
    inventories: Path

    def nodes(self) -> tuple[Node, ...]:
        """The nodes wanted: suites in turn, addresses in a row."""
        if not 1 <= self.count <= self.net.room:
            raise LabError(f"A lab has 1 to {self.net.room} nodes, not {self.count}.")
        return tuple(
            Node(f"{self.cluster}{number}", self.net.node(number), self.suites[(number - 1) % len(self.suites)])
            for number in range(1, self.count + 1)
        )


class Lab:
    """One cluster of the lab."""

    def __init__(self, cluster: str, report: Reporter, engine: Engine | None = None) -> None:
        self.cluster = cluster
        self.folder = Folder.of(cluster)
        self._report = report
        self._engine = engine or Docker.find()
        self._boards = Boards(self._engine, cluster)

    def up(self, wish: Wish) -> State:
        """Have the lab running; running again checks and mends.

        Raises:
            LabError: it cannot be had, or another lab of this name is there.
        """
        nodes = wish.nodes()
        state = self.folder.load()
        if state is None:
            state = self._prepare(wish, nodes)
        elif (state.nodes, state.net, state.inventories) != (nodes, str(wish.net), str(wish.inventories.resolve())):
            have = (
                f"{len(state.nodes)} nodes ({', '.join(sorted({node.suite for node in state.nodes}))}) on {state.net}"
            )
            raise LabError(
                f"The lab {self.cluster} is there with {have} and its inventory in {state.inventories}; "
                f"take it down before you ask for another: make demo-down CLUSTER={self.cluster}"
            )
        self._power(state)
        return state

    def _prepare(self, wish: Wish, nodes: tuple[Node, ...]) -> State:
        """Images, key, cards, inventory: all that comes before the power switch."""
        left = self._engine.names(self.cluster)
        if left:
            raise LabError(
                f"Containers of an earlier lab {self.cluster} are left; "
                f"`make demo-down CLUSTER={self.cluster}` removes them."
            )
        builder = Builder(self._engine, self._report)
        gateway = builder.system(recipe.gateway(recipe.apt_of_host(recipe.GATEWAY_SUITE)))
        Network(self._engine, self.cluster, wish.net, gateway).check_free()
        recipes = {suite: recipe.card(suite, recipe.apt_of_host(suite)) for suite in dict.fromkeys(wish.suites)}
        images = {suite: builder.card(found) for suite, found in recipes.items()}
        private_folder(self.folder.path)
        public = cards.make_key(self.folder.key)
        shutil.rmtree(self.folder.cards, ignore_errors=True)
        self.folder.cards.mkdir()
        common = cards.Burning(self.cluster, public, self.folder.cards, wish.net, wish.inventories)
        inventory = wish.inventories / self.cluster
        if take_over(inventory, {node.name: node.address for node in nodes}):
            self._report.line(f"{inventory} was a lab's with other nodes; its nodes and groups are made anew")
        cards.write_inventory(nodes, common)
        for suite, image in images.items():
            chosen = [node for node in nodes if node.suite == suite]
            if chosen:
                with self._report.step(f"Burning {suite} cards for {', '.join(node.name for node in chosen)}"):
                    cards.burn(chosen, image, common)
        state = State(
            cluster=self.cluster,
            net=str(wish.net),
            inventories=str(wish.inventories.resolve()),
            nodes=nodes,
            images={suite: found.engine_image for suite, found in recipes.items()},
            gateway=gateway,
        )
        self.folder.save(state)
        return state

    def _power(self, state: State) -> None:
        """Gateway, nodes, cables; then wait for the nodes, all at once."""
        network = self._network(state)
        with self._report.step(f"Switching on the gateway of {state.net}"):
            self.folder.gateway.mkdir(exist_ok=True)
            source = Path(state.inventories) / self.cluster / RESERVATIONS
            if not source.is_file():
                raise LabError(f"There is no {source}; take the lab down and up again to burn its cards anew.")
            shutil.copyfile(source, self.folder.gateway / RESERVATIONS)
            network.start_gateway(self.folder.gateway)
        fresh = [node for node in state.nodes if self._engine.status(self._boards.container(node.name)) is None]
        with self._report.step(f"Switching on {', '.join(node.name for node in state.nodes)}"):
            # A first boot makes new host keys, also where only the container was lost.
            forget_host_keys(Path(state.inventories) / self.cluster, [node.name for node in fresh])
            self._each(state.nodes, lambda node: self._switch_on(state, node))
            network.plug([node.name for node in state.nodes])
        with self._report.step("Waiting for the nodes", "All nodes are ready"):
            self._each(state.nodes, lambda node: self._boards.wait(node, self._report.line))
            self._each(fresh, lambda node: first_login(node, self.folder.key))

    def _switch_on(self, state: State, node: Node) -> None:
        if self._engine.status(self._boards.container(node.name)) is None:
            self.folder.boot(node.name).parent.mkdir(exist_ok=True)
            cards.unpack_boot(cards.card_of(self.folder.cards, node.name), self.folder.boot(node.name))
        self._boards.power_on(node.name, state.images[node.suite], self.folder.boot(node.name))

    def _network(self, state: State) -> Network:
        return Network(self._engine, self.cluster, LabNet.parse(state.net), state.gateway)

    def _each(self, nodes: Sequence[Node], act: Callable[[Node], None]) -> None:
        """Do something to all nodes at once; report every failure, not just the first.

        Raises:
            LabError: something failed on at least one node.
        """
        with ThreadPoolExecutor(max_workers=16) as pool:
            futures = [pool.submit(act, node) for node in nodes]
        failures = [error for future in futures if (error := future.exception()) is not None]
        for error in failures:
            if not isinstance(error, LabError):
                raise error
        if failures:
            raise LabError("\n".join(str(error) for error in failures))

    def _state(self) -> State:
        state = self.folder.load()
        if state is None:
            others = ", ".join(clusters()) or "none"
            raise LabError(f"There is no lab {self.cluster} here (there is: {others}).")
        return state

    def down(self) -> None:
        """Take everything away but the images and the inventory; fine if nothing is there."""
        names = self._engine.names(self.cluster)
        try:
            state = self.folder.load()
        except LabError:
            state = None
        if names:
            with self._report.step(f"Switching off the lab {self.cluster}", f"The lab {self.cluster} is off"):
                if state is not None:
                    self._each(state.nodes, lambda node: self._boards.hang_up(node.name))
                self._engine.remove(names)
        if state is not None and self._engine.has_image(state.gateway):
            self._network(state).forget()
            self._clear(state.gateway)
        shutil.rmtree(self.folder.path, ignore_errors=True)
        if self.folder.path.exists():
            raise LabError(f"{self.folder.path} could not be removed; it holds files of another user.")
        if not names and state is None:
            self._report.line(f"There is no lab {self.cluster}; nothing to do.")

    def _clear(self, image: str) -> None:
        """Remove what a node's root wrote into its boot folder: a user may not."""
        boot = self.folder.path / "boot"
        if boot.is_dir() and os.geteuid() != 0:
            self._engine.once(
                Container(
                    image=image, command=["sh", "-c", "rm -rf /boot-folder/*"], binds=[(boot, "/boot-folder", "rw")]
                )
            )

    def switch(self, node: str, *, on: bool) -> None:
        """Pull a node's cable or plug it in again."""
        state = self._state()
        self._network(state).switch(state.node(node).name, on=on)
        self._report.line(f"{node}: cable {'plugged in' if on else 'pulled'}")

    def restart(self, name: str, *, kill: bool = True) -> None:
        """Cut a node's power and give it back; wait until it is up."""
        state = self._state()
        node = state.node(name)
        self._engine.again(self._boards.container(name), kill=kill)
        self._network(state).plug([name])
        self._boards.wait(node, self._report.line)

    def attend(self) -> NoReturn:
        """Switch on again whatever node has switched itself off, as a board's firmware does; never ends by itself."""
        state = self._state()
        while True:
            for node in state.nodes:
                found = self._engine.status(self._boards.container(node.name))
                if found is not None and not found.running:
                    self._report.line(f"{node.name} has gone off; switching it on again")
                    self._engine.again(self._boards.container(node.name), kill=False)
                    self._network(state).plug([node.name])
            time.sleep(ATTEND_SECONDS)

    def verify_pool(self, suite: str) -> str:
        """Boot a stock card, without any hint, and see that its address is one of the pool's.

        Returns:
            The address.

        Raises:
            LabError: it got none, or a reserved one, or cannot be told.
        """
        state = self._state()
        network = self._network(state)
        found = recipe.card(suite, recipe.apt_of_host(suite))
        card = Builder(self._engine, self._report).card(found)
        name = "stock"
        container = self._boards.container(name)
        self._engine.remove([container] if self._engine.status(container) else [])
        self.folder.boot(name).parent.mkdir(exist_ok=True)
        cards.unpack_boot(card, self.folder.boot(name))
        try:
            with self._report.step(f"Booting a stock {suite} card"):
                self._boards.power_on(name, found.engine_image, self.folder.boot(name))
                network.plug([name])
                address = self._boards.wait_for_address(name, within=120)
                leased = network.leases().get(hardware_address(self.cluster, name))
        finally:
            self._engine.remove([container])
        if leased != address:
            raise LabError(f"A card without a hint has {address}, but the gateway leased it {leased}.")
        if not network.net.in_pool(address):
            raise LabError(
                f"A card without a hint got {address}, which is not of the pool {' to '.join(network.net.pool)}."
            )
        self._report.line(f"A stock {suite} card got {address}, one of the pool's")
        return address

    def scan(self, ports: str, udp: str = "") -> Mapping[str, Mapping[str, list[int]]]:
        """What a stranger on the nodes' network sees of their ports, by node and family.

        Args:
            ports: TCP ports to look for open ones in (ipv4, ipv6).
            udp: UDP ports to look for ones that answer in (udp_ipv4, udp_ipv6).

        Raises:
            LabError: the ports make no sense, or a node does not run.
        """
        state = self._state()
        with Stranger(self._engine, self._network(state), self.cluster, state.gateway) as stranger:
            return stranger.scan(self._targets(state), ports, udp)

    def knock(self, user: str, times: int) -> Mapping[str, list[str]]:
        """What became of a stranger's attempts to log in with nobody's key, by node.

        Raises:
            LabError: an attempt failed for another reason than the key.
        """
        state = self._state()
        # A card has an ssh client, the gateway has none.
        with Stranger(self._engine, self._network(state), self.cluster, min(state.images.values())) as stranger:
            return stranger.knock(self._targets(state), user, times)

    def _targets(self, state: State) -> list[Target]:
        return [Target(node.name, self._boards.container(node.name), node.address) for node in state.nodes]

    def execute(self, place: str, command: Sequence[str]) -> tuple[int, str]:
        """Run a command as root on a node, or on the gateway; return its code and what it said."""
        name = place if place == "gateway" else self._state().node(place).name
        return self._engine.execute(self._boards.container(name), command)

    def interrupt(self, name: str, armed: str, command: Sequence[str], *, restart: bool) -> tuple[int, str]:
        """Start a command; once it has changed a node, and nothing is confirmed, kill it or cut the node's power.

        Args:
            name: the node.
            armed: the rollback's name, such as firewall.
            command: what to start.
            restart: cut the node's power and let the command go on, instead of killing it.

        Returns:
            The command's exit code and what it said.

        Raises:
            LabError: that moment never came.
        """
        node = self._state().node(name)
        run = Interrupted(self._engine, self._boards.container(node.name), armed, command)
        return run.run((lambda: self.restart(node.name)) if restart else None), run.said

    def status(self) -> list[tuple[str, str, str, str]]:
        """Node, suite, address and what its container does."""
        state = self._state()
        rows = []
        for node in state.nodes:
            found = self._engine.status(self._boards.container(node.name))
            now = "missing" if found is None else "on" if found.running else "off"
            rows.append((node.name, node.suite, node.address, now))
        return rows
