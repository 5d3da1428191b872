#!/usr/bin/env python3
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""k3s stand-in: NOT Kubernetes. It speaks k3s's contract with an installer, and runs no containers.

For a lab that cannot have the real binary: config.yaml and flags, token files, sd_notify, agents that retry until their
server answers, /cacerts, /v1-k3s/readyz, k3s.yaml, `kubectl get nodes`. Names, paths and flags are those of k3s, so
that a role cannot tell; every version it prints says stand-in. Needs the standard library and the openssl program only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import platform
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VERSION = "v1.36.4+k3s1-stand-in"
NOTICE = "k3s stand-in: this is not Kubernetes"
JOIN_PATH = "/v1-k3s/stand-in/node"
# pkg/agent/run.go of k3s: an agent looks again every 2 s, for ever.
RETRY_SECONDS = 2.0
# Kubernetes' defaults: --node-status-update-frequency of the kubelet, --node-monitor-grace-period of its controller.
HEARTBEAT_SECONDS, GRACE_SECONDS = 10.0, 40.0
# Flags without a value, as far as an installer may give them; of the others an unknown one is noted, not refused.
SWITCHES = ("cluster-init", "disable-agent", "embedded-registry", "disable-network-policy", "disable-cloud-controller")


class FatalError(Exception):
    """Ends the program as k3s's own fatal errors do."""


def say(text: str) -> None:
    """Print an answer."""
    sys.stdout.write(f"{text}\n")


def log(level: str, text: str) -> None:
    """Write a line as k3s's logger does."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = json.dumps(f"[stand-in] {text}", ensure_ascii=False)
    sys.stderr.write(f'time="{now}" level={level} msg={message}\n')
    sys.stderr.flush()


def parse_config(text: str) -> dict[str, list[str]]:
    """Read the flat YAML of a config.yaml: `key: value`, or `key:` with a list below."""
    values: dict[str, list[str]] = {}
    key = ""
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        name, colon, value = content.partition(":")
        if content.startswith("- ") and key:
            values[key].append(_scalar(content[2:]))
        elif line[0] not in " -" and colon:
            key = name.strip('"').rstrip("+")
            values[key] = [] if not value.strip() or value.strip() == "[]" else [_scalar(value)]
        else:
            raise FatalError(f"config file line {number} is beyond this stand-in: {line}")
    return values


def _scalar(text: str) -> str:
    text = text.strip()
    return str(json.loads(text)) if text.startswith('"') else text.strip("'")


@dataclass
class Settings:
    """Flags and config file together; a flag wins."""

    role: str
    values: dict[str, list[str]]

    def text(self, name: str, default: str = "") -> str:
        """Return a single value."""
        return (self.values.get(name) or [default])[-1]

    def switch(self, name: str) -> bool:
        """Return a switch."""
        return self.text(name).lower() == "true"

    def secret(self, name: str) -> str:
        """Return a secret given as such, or as a file."""
        file = self.text(f"{name}-file")
        return self.text(name) or (Path(file).read_text(encoding="utf-8").strip() if file else "")

    def seconds(self, flag: str, name: str, default: float) -> float:
        """Return a duration out of the arguments meant for one of Kubernetes' programs."""
        for argument in self.values.get(flag, []):
            key, _, value = argument.partition("=")
            if key == name:
                return float(value.removesuffix("s"))
        return default

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.text("data-dir", "/var/lib/rancher/k3s"))

    @property
    def node(self) -> dict[str, str]:
        """What this node tells of itself."""
        name = self.text("node-name") or socket.gethostname().lower()
        return {"name": name, "ip": self.text("node-ip", "127.0.0.1"), "role": self.role, "machine": platform.machine()}


def read_flags(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Split a command line into flags (`--name value`, `--name=value`, `-o value`) and other words."""
    flags: dict[str, list[str]] = {}
    words = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        name = {"c": "config", "d": "data-dir", "s": "server", "t": "token", "o": "output"}.get(name, name)
        if not word.startswith("-"):
            words.append(word)
        elif equals or name in SWITCHES:
            flags.setdefault(name, []).append(value if equals else "true")
        elif rest:
            flags.setdefault(name, []).append(rest.pop(0))
        else:
            raise FatalError(f"flag needs an argument: --{name}")
    return flags, words


def read_settings(role: str, arguments: list[str]) -> Settings:
    """Read command line and config file; a flag wins over the file."""
    flags, words = read_flags(arguments)
    if words:
        raise FatalError(f"'k3s {role}' takes flags only, not '{words[0]}'")
    file = Path(flags.pop("config", ["/etc/rancher/k3s/config.yaml"])[-1])
    values = parse_config(file.read_text(encoding="utf-8")) if file.exists() else {}
    return Settings(role, values | flags)


def notify(message: str) -> None:
    """Tell systemd (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.connect("\0" + address[1:] if address.startswith("@") else address)
            link.sendall(message.encode())


def write(path: Path, text: str) -> None:
    """Write a file 0600, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)  # 0600 from the start
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    Path(name).replace(path)


def openssl(*arguments: str) -> None:
    """Run openssl."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FatalError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def make_certificates(tls: Path, names: list[str]) -> None:
    """Make the cluster's CA once, and the server's certificate at every start."""
    tls.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    ca, ca_key, request = tls / "server-ca.crt", tls / "server-ca.key", tls / "serving.csr"
    if not ca.exists():
        fresh = tls / "server-ca.new"
        openssl(
            *("req", "-x509", *key, "-days", "3650", "-subj", "/CN=k3s-stand-in-server-ca"),
            *("-addext", "keyUsage=critical,keyCertSign,digitalSignature"),
            *("-keyout", str(ca_key), "-out", str(fresh)),
        )
        fresh.replace(ca)
    addresses = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in dict.fromkeys(names))
    openssl("req", "-new", *key, "-subj", "/CN=k3s", "-keyout", str(tls / "serving.key"), "-out", str(request))
    extension = tls / "serving.ext"
    extension.write_text(f"subjectAltName={addresses}\n", encoding="utf-8")
    openssl(
        *("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key), "-days", "365"),
        *("-set_serial", str(secrets.randbits(63)), "-extfile", str(extension), "-out", str(tls / "serving.crt")),
    )


def _is_address(name: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, name)
            return True
    return False


@dataclass
class Registry:
    """The nodes that have joined; kept across restarts, as k3s's database is."""

    path: Path
    grace: float
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Read what a former run knew."""
        with contextlib.suppress(FileNotFoundError):
            self.nodes = json.loads(self.path.read_text(encoding="utf-8"))

    def beat(self, node: dict[str, str]) -> None:
        """Note a node's sign of life."""
        with self.lock:
            born = self.nodes.get(node["name"], {}).get("born", time.time())
            self.nodes[node["name"]] = node | {"born": born, "seen": time.time()}
            write(self.path, json.dumps(self.nodes))

    def delete(self, name: str) -> bool:
        """Forget a node; it comes back if it is still alive."""
        with self.lock:
            found = self.nodes.pop(name, None) is not None
            write(self.path, json.dumps(self.nodes))
            return found

    def listing(self) -> dict[str, Any]:
        """Return the nodes in the shape of Kubernetes' NodeList."""
        with self.lock:
            items = [node_object(self.nodes[name], self.grace) for name in sorted(self.nodes)]
        return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}


def node_object(node: dict[str, Any], grace: float) -> dict[str, Any]:
    """Make a Node object."""
    alive = time.time() - node["seen"] < grace
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": f"{NOTICE}, but posts ready status",
    }
    if not alive:
        ready |= {"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(node["machine"], "arm")
    labels = {"kubernetes.io/hostname": node["name"], "kubernetes.io/arch": arch, "kubernetes.io/os": "linux"}
    if node["role"] == "server":
        labels["node-role.kubernetes.io/control-plane"] = "true"
    born = datetime.fromtimestamp(node["born"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    addresses = [{"type": "InternalIP", "address": node["ip"]}, {"type": "Hostname", "address": node["name"]}]
    info = {
        "kubeletVersion": VERSION,
        "architecture": arch,
        "containerRuntimeVersion": "stand-in://none",
        "osImage": NOTICE,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node["name"], "labels": labels, "creationTimestamp": born},
        "spec": {},
        "status": {"addresses": addresses, "conditions": [ready], "nodeInfo": info},
    }


class Handler(BaseHTTPRequestHandler):
    """Answers agents, kubectl and the readiness question."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    registry: Registry
    tokens: dict[str, str]
    ca: str

    def do_GET(self) -> None:
        """Answer a question."""
        if self.path == "/cacerts":
            self._answer(200, self.ca)
        elif self.path == "/ping":
            self._answer(200, "pong")
        elif self.path == "/v1-k3s/readyz" and self._is("node"):
            self._answer(200, "ok")
        elif self.path in ("/readyz", "/api/v1/nodes", "/version") and self._is("admin"):
            known = {"/readyz": "ok", "/version": json.dumps({"gitVersion": VERSION})}
            self._answer(200, known.get(self.path) or json.dumps(self.registry.listing()))

    def do_POST(self) -> None:
        """Take a node's sign of life."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1 << 16))
        if self.path == JOIN_PATH and self._is("node"):
            self.registry.beat({key: str(value) for key, value in json.loads(body).items()})
            self._answer(200, "{}")

    def do_DELETE(self) -> None:
        """Forget a node."""
        if self.path.startswith("/api/v1/nodes/") and self._is("admin"):
            found = self.registry.delete(self.path.rpartition("/")[2])
            self._answer(200 if found else 404, "{}")

    def _is(self, user: str) -> bool:
        """Check the credentials: basic for nodes, bearer for kubectl. Answers itself if they are wrong."""
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        given = base64.b64decode(value).decode("utf-8", "replace") if kind == "Basic" else f"admin:{value}"
        if hmac.compare_digest(given.encode(), f"{user}:{self.tokens[user]}".encode()):
            return True
        if kind:
            log("error", f"Failed to authenticate request from {self.client_address[0]}: not authorized")
        self._answer(401, json.dumps({"kind": "Status", "status": "Failure", "message": "not authorized", "code": 401}))
        return False

    def _answer(self, code: int, text: str) -> None:
        data = text.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Server", NOTICE)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Stay quiet: a heartbeat is no news."""


class Listener(ThreadingHTTPServer):
    """Shakes hands in the connection's own thread, so that a slow caller keeps nobody waiting."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(address, Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Put TLS around the connection."""
        with contextlib.suppress(OSError):
            request.settimeout(Handler.timeout)
            super().finish_request(self._context.wrap_socket(request, server_side=True), client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's types
        """Drop a connection that broke."""


def run_server(settings: Settings) -> None:
    """Be the server, and the node on it."""
    if settings.text("server"):
        raise FatalError("this stand-in knows no second server")
    base, tls, node = settings.data / "server", settings.data / "server/tls", settings.node
    names = ["127.0.0.1", "localhost", node["name"], node["ip"], *settings.values.get("tls-san", [])]
    if settings.text("advertise-address"):
        names.append(settings.text("advertise-address"))
    known = (base / "cred/passwd").read_text(encoding="utf-8").strip() if (base / "cred/passwd").exists() else ""
    token = settings.secret("token") or known or secrets.token_hex(16)
    if known and known != token:
        raise FatalError("bootstrap data already found and encrypted with different token")
    make_certificates(tls, names)
    ca = (tls / "server-ca.crt").read_text(encoding="utf-8")
    prefix = f"K10{hashlib.sha256(ca.encode()).hexdigest()}"
    agent_token, admin = settings.secret("agent-token") or token, secrets.token_hex(16)
    write(base / "cred/passwd", token)
    write(base / "token", f"{prefix}::server:{token}\n")
    write(base / "agent-token", f"{prefix}::node:{agent_token}\n")
    with contextlib.suppress(FileExistsError):
        (base / "node-token").symlink_to("token")
    grace = settings.seconds("kube-controller-manager-arg", "node-monitor-grace-period", GRACE_SECONDS)
    Handler.registry = Registry(base / "db/state.json", grace)
    Handler.tokens = {"node": agent_token, "admin": admin}
    Handler.ca = ca
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls / "serving.crt", tls / "serving.key")
    port = int(settings.text("https-listen-port", "6443"))
    try:
        listener = Listener((settings.text("bind-address", "0.0.0.0"), port), context)  # noqa: S104 - as k3s does
    except OSError as error:
        raise FatalError(f"starting kubernetes: listen on port {port}: {error}") from error
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    write(Path(settings.text("write-kubeconfig", "/etc/rancher/k3s/k3s.yaml")), kubeconfig(port, ca, admin))
    log("info", f"{NOTICE}; listening on {port}")
    notify("READY=1\nSTATUS=stand-in, not Kubernetes")
    frequency = settings.seconds("kubelet-arg", "node-status-update-frequency", HEARTBEAT_SECONDS)
    while True:
        if not settings.switch("disable-agent"):
            Handler.registry.beat(node)
        time.sleep(frequency)


def kubeconfig(port: int, ca: str, token: str) -> str:
    """Make k3s.yaml."""
    data = base64.b64encode(ca.encode()).decode()
    return (
        f"# {NOTICE}\napiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: {data}\n"
        f"    server: https://127.0.0.1:{port}\n  name: default\ncontexts:\n- context:\n    cluster: default\n"
        f"    user: default\n  name: default\ncurrent-context: default\nusers:\n- name: default\n"
        f"  user:\n    token: {token}\n"
    )


def ask(url: str, ca: str, authorization: str, method: str = "GET", body: str = "") -> str:
    """Ask the server over verified TLS."""
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    request = urllib.request.Request(url, method=method, headers=headers, data=body.encode() if body else None)  # noqa: S310 - https only
    context = ssl.create_default_context(cadata=ca)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=10) as response:
        text: str = response.read().decode()
    return text


def trusted_ca(server: str, token: str) -> str:
    """Fetch the server's CA: trusted at first contact, unless the token pins it (K10<sha256 of the CA>::user:...)."""
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=blind))
    with opener.open(f"{server}/cacerts", timeout=10) as response:
        ca: str = response.read().decode()
    if token.startswith("K10") and token[3:67] != hashlib.sha256(ca.encode()).hexdigest():
        raise FatalError("token CA hash does not match the Cluster CA certificate hash")
    return ca


def run_agent(settings: Settings) -> None:
    """Be an agent: ask until the server answers, then keep telling that the node is alive."""
    server, token = settings.text("server").rstrip("/"), settings.secret("token")
    if not server.startswith("https://") or not token:
        raise FatalError("--server and --token are required")
    authorization = "Basic " + base64.b64encode(f"node:{token.rpartition(':')[2]}".encode()).decode()
    frequency = settings.seconds("kubelet-arg", "node-status-update-frequency", HEARTBEAT_SECONDS)
    joined = False
    ca = ""
    while True:
        try:
            ca = ca or trusted_ca(server, token)
            ask(f"{server}{JOIN_PATH}", ca, authorization, "POST", json.dumps(settings.node))
        except (OSError, ssl.SSLError) as error:
            reason = "not authorized" if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
            log("error", f"Failed to validate connection to cluster at {server}: {reason}")
            ca = ca if joined else ""  # a server that was set up anew has a new CA
            time.sleep(RETRY_SECONDS)
            continue
        if not joined:
            joined = True
            write(settings.data / "agent/server-ca.crt", ca)
            log("info", f"{NOTICE}; joined {server}")
            notify("READY=1\nSTATUS=stand-in, not Kubernetes")
        time.sleep(frequency)


def run_kubectl(arguments: list[str]) -> None:
    """Answer the few questions that an installer asks."""
    flags, given = read_flags(arguments)
    place = flags.get("kubeconfig", [os.environ.get("KUBECONFIG", "/etc/rancher/k3s/k3s.yaml")])[-1]
    lines = Path(place).read_text(encoding="utf-8").splitlines()
    fields = dict(line.strip().split(": ", 1) for line in lines if ": " in line)
    server = fields["server"]
    ca = base64.b64decode(fields["certificate-authority-data"]).decode()
    bearer = f"Bearer {fields['token']}"
    raw, output = flags.get("raw", [""])[-1], flags.get("output", [""])[-1]
    verb, *words = given or ["help"]
    kind, names = (words[0].rstrip("s") if words else ""), words[1:]
    if verb == "get" and raw in ("/readyz", "/version", "/api/v1/nodes"):
        say(ask(server + raw, ca, bearer))
    elif verb == "version":
        remote = json.loads(ask(f"{server}/version", ca, bearer))["gitVersion"]
        say(f"Client Version: {VERSION}\nServer Version: {remote}")
    elif verb == "get" and kind in ("node", "no"):
        listing = json.loads(ask(f"{server}/api/v1/nodes", ca, bearer))
        listing["items"] = [item for item in listing["items"] if not names or item["metadata"]["name"] in names]
        show(listing["items"][0] if len(names) == 1 and listing["items"] else listing, output)
    elif verb == "delete" and kind == "node" and names:
        for name in names:
            ask(f"{server}/api/v1/nodes/{name}", ca, bearer, "DELETE")
            say(f'node "{name}" deleted')
    else:
        raise FatalError(f"{NOTICE}; it cannot do 'kubectl {' '.join(arguments)}'")


def show(found: dict[str, Any], output: str) -> None:
    """Print nodes as kubectl does."""
    items = found.get("items", [found])
    if output == "json":
        say(json.dumps(found, indent=4))
    elif output == "name":
        say("\n".join(f"node/{item['metadata']['name']}" for item in items))
    else:
        say(f"{'NAME':<20}{'STATUS':<10}{'ROLES':<16}VERSION")
        for item in items:
            ready = item["status"]["conditions"][0]["status"] == "True"
            role = (
                "control-plane" if "node-role.kubernetes.io/control-plane" in item["metadata"]["labels"] else "<none>"
            )
            say(f"{item['metadata']['name']:<20}{'Ready' if ready else 'NotReady':<10}{role:<16}{VERSION}")


def run(command: str, arguments: list[str]) -> None:
    """Run one of k3s's commands.

    Raises:
        FatalError: When it cannot be done.
    """
    if command in ("--version", "-v") or (command in ("crictl", "ctr") and arguments == ["--version"]):
        say(f"k3s version {VERSION} ({NOTICE})")
    elif command == "server":
        run_server(read_settings(command, arguments))
    elif command == "agent":
        run_agent(read_settings(command, arguments))
    elif command == "kubectl":
        run_kubectl(arguments)
    else:
        raise FatalError(f"{NOTICE}; it cannot do 'k3s {command}'")


def main() -> None:
    """Act as the program that the name or the first argument says."""
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    command = name if name in ("kubectl", "crictl", "ctr") else (arguments.pop(0) if arguments else "help")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        run(command, arguments)
    except (FatalError, OSError, ValueError, KeyError) as error:
        log("fatal", str(error) or repr(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
