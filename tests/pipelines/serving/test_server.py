import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipelines.errors import ServerError
from pipelines.serving.admission import Limits
from pipelines.serving.application import application
from pipelines.serving.server import Settings, _listening, certificate_from, on_loopback, run
from pipelines.serving.service import Service
from pipelines.store.connection import tracking_store
from pipelines.store.registry import find, promote
from pipelines.store.servable import Servable
from tests.pipelines.registered import FEATURES, RAW, damage, map_model, post, register_model

ROWS = RAW[:5].tolist()
FIRST_CLUSTER = {"1": 1, "2": 101}  # of the versions of the model `plain`, so that an answer tells which made it


@pytest.fixture(scope="module")
def filled_store(_empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store with two versions of the model `plain` and one of `gaps`, which takes missing values."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copy(_empty_store, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch, tracking_store(f"sqlite:///{folder}/mlflow.db"):
        patch.chdir(folder)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        for first_cluster in FIRST_CLUSTER.values():
            register_model("plain", map_model(first_cluster))
        register_model("gaps", map_model(missing="mask"))
        yield folder


@pytest.fixture
def service(filled_store: Path) -> Iterator[Service]:
    """Version 1 of `plain`, which is its champion, followed."""
    yield Service(find("plain", "1"), "champion")
    champion("1")


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    with on_loopback(application(service)) as at:
        yield at


def champion(version: str) -> None:
    mlflow.MlflowClient().set_registered_model_alias("plain", "champion", version)


def get(address: str, path: str) -> httpx.Response:
    return httpx.get(address + path, trust_env=False)


def test_answers_are_those_of_the_model_as_mlflow_loads_it(address: str) -> None:
    answer = post(address, ROWS)
    assert (answer.status_code, answer.headers["x-model-version"]) == (200, "1")
    expected = mlflow.pyfunc.load_model("models:/plain/1").predict(pd.DataFrame(ROWS, columns=list(FEATURES)))
    pd.testing.assert_frame_equal(pd.DataFrame(answer.json()["predictions"]), expected)


def test_csv_is_answered_like_json(address: str) -> None:
    body = pd.DataFrame(ROWS, columns=list(FEATURES)).to_csv(index=False)
    answer = httpx.post(f"{address}/invocations", content=body, headers={"content-type": "text/csv"}, trust_env=False)
    assert answer.json() == post(address, ROWS).json()


def test_missing_values_are_refused_or_answered_as_the_model_takes_them(address: str, filled_store: Path) -> None:
    refused = post(address, [[1.0, None], [1.0, 2.0]])
    assert (refused.status_code, refused.headers["x-model-version"]) == (400, "1")
    assert refused.json()["message"] == ("input must not be null, NaN or infinite, got such values in 1 rows: b in 1")
    with on_loopback(application(Service(find("gaps", "1")))) as masked:
        answer = post(masked, [[1.0, None], [None, None]])
    first, second = answer.json()["predictions"]
    assert first["row"] >= 0
    assert second == {"row": -1, "col": -1, "quantization_error": None, "cluster": -1}


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (
            b'{"inputs": [[1, 2]',
            "application/json",
            400,
            "must be JSON: Expecting ',' delimiter: line 1 column 19",
        ),
        (b'{"dataframe_records": [{"a": 1}]}', "application/json; charset=utf-8", 400, "absent: b"),
        (b'{"inputs": [[1, 1e400]]}', "application/json", 400, "must not be null, NaN or infinite"),
        (b"x" * 2000, "application/json", 413, "must not be longer than 1,000 bytes: send the rows in parts"),
        (b"a,b\n1,2,\n", "text/csv", 400, "must have 2 fields in each line, as its header has, got 3 in line 2"),
        (b"a,b\n1e308,2\n", "text/csv", 400, "near enough to the training data"),
        (b'{"inputs": [[1, -1e308]]}', "application/json", 400, "near enough to the training data"),
        (b'{"instances": [{"a": 1e308, "b": 1}]}', "application/json", 400, "near enough to the training data"),
        (b'{"inputs": {"a": [1e308], "b": [1]}}', "application/json", 400, "near enough to the training data"),
        (b"a,b", "text/csv; charset=latin-1", 415, "charset must be utf-8, got latin-1"),
        (b"", "", 415, "got none"),
        (b"", "application/json", 400, "request must be JSON"),
        (b"a,b", "text/plain", 415, "Content-Type must be application/json or text/csv, got text/plain"),
    ],
)
def test_what_cannot_be_answered_is_a_line_with_its_status(
    content: bytes, kind: str, status: int, message: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limits, "most_bytes", 1000)
    answer = httpx.post(f"{address}/invocations", content=content, headers={"content-type": kind}, trust_env=False)
    assert (answer.status_code, answer.headers["x-model-version"]) == (status, "1")
    assert message in answer.json()["message"]
    assert "\n" not in answer.text


def test_pages_tell_that_it_lives_and_which_version_serves(address: str) -> None:
    assert get(address, "/ping").text == "\n"
    version = get(address, "/version").json()
    assert (version["model"], version["version"], version["alias"]) == ("plain", "1", "champion")
    assert get(address, "/health").json() == {"status": "ok", "problem": None, **version}
    nothing = get(address, "/nothing")
    assert (nothing.status_code, nothing.headers["x-model-version"]) == (404, "1")


def test_a_model_that_fails_is_a_line_without_its_insides(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Servable, frame: pd.DataFrame) -> pd.DataFrame:
        raise KeyError("secret")

    monkeypatch.setattr(Servable, "predict", fail)
    answer = post(address, ROWS)
    assert (answer.status_code, answer.json()["message"]) == (500, "the model failed: KeyError")
    assert answer.headers["x-model-version"] == "1"


def test_no_request_fails_while_the_alias_moves_and_each_answer_is_of_the_version_it_names(service: Service) -> None:
    with on_loopback(application(service, poll=0.05)) as address, ThreadPoolExecutor(3) as clients:
        stop = Event()
        fired = [clients.submit(fire, address, stop) for _ in range(3)]
        for version in ("2", "1", "2"):
            champion(version)
            wait_for(version, service)
        stop.set()
        answers = [answer for each in fired for answer in each.result()]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-model-version"] for answer in answers} == {"1", "2"}
    for answer in answers:
        first = FIRST_CLUSTER[answer.headers["x-model-version"]]
        clusters = np.array([record["cluster"] for record in answer.json()["predictions"]])
        assert ((clusters >= first) & (clusters < first + 6)).all()


def fire(address: str, stop: Event) -> list[httpx.Response]:
    """Asks without a pause."""
    answers = []
    while not stop.is_set():
        answers.append(post(address, ROWS))
    return answers


def wait_for(version: str, service: Service) -> None:
    give_up = time.monotonic() + 60
    while service.current.servable.version.version != version:
        assert time.monotonic() < give_up, service.problem
        time.sleep(0.02)


def test_a_request_in_flight_finishes_on_its_version_and_holds_nobody_up(
    service: Service, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = Event(), Event()
    predict = Servable.predict

    def wait(self: Servable, frame: pd.DataFrame) -> pd.DataFrame:
        begun.set()
        assert go_on.wait(30)
        return predict(self, frame)

    with ThreadPoolExecutor(1) as client:
        monkeypatch.setattr(Servable, "predict", wait)
        slow = client.submit(post, address, ROWS)
        assert begun.wait(30)
        monkeypatch.setattr(Servable, "predict", predict)
        champion("2")
        service.follow()
        assert get(address, "/version").json()["version"] == "2"
        go_on.set()
        assert slow.result().headers["x-model-version"] == "1"
        assert slow.result().json()["predictions"][0]["cluster"] < 100
    assert post(address, ROWS).headers["x-model-version"] == "2"


def test_a_version_that_does_not_load_never_serves_and_the_reason_is_shown(service: Service, address: str) -> None:
    broken = register_model("plain", map_model(201))
    damage(broken.uri)
    champion(broken.version)
    service.follow()
    health = get(address, "/health").json()
    assert (health["status"], health["version"]) == ("stale", "1")
    assert "damaged" in health["problem"]
    assert post(address, ROWS).headers["x-model-version"] == "1"
    mlflow.MlflowClient().delete_registered_model_alias("plain", "champion")
    service.follow()
    assert "no alias 'champion'" in get(address, "/health").json()["problem"]
    champion("1")
    service.follow()
    assert get(address, "/health").json()["status"] == "ok"


def test_a_version_that_cannot_serve_is_fetched_and_told_once(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = register_model("plain", map_model(301))
    damage(broken.uri)
    champion(broken.version)
    fetched: list[str] = []
    download = mlflow.artifacts.download_artifacts
    monkeypatch.setattr(
        mlflow.artifacts, "download_artifacts", lambda uri, **more: fetched.append(uri) or download(uri, **more)
    )
    for _ in range(4):
        service.follow()
    assert fetched == [broken.uri]
    assert len([line for line in caplog.messages if "stays at version 1" in line]) == 1
    assert service.problem is not None
    champion("1")
    service.follow()
    assert service.problem is None


def test_connections_send_small_answers_at_once() -> None:
    with _listening("127.0.0.1", 0) as open_socket, socket.create_connection(open_socket.getsockname()):
        accepted, _ = open_socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_one_line(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
            run(service, Settings("127.0.0.1", port, 10), lambda address: None)


def test_som_serve_prints_its_address_follows_the_alias_and_finishes_requests_before_it_ends(
    filled_store: Path,
) -> None:
    command = [sys.executable, "-m", "pipelines", "serve", "plain", "--port", "0"]
    options = ["--poll", "0.1", "--uri", f"sqlite:///{filled_store}/mlflow.db"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith("som serve: plain version 1 (champion) at http://127.0.0.1:"), process.stderr.read()
        address = line.split()[-1]
        promote("plain", "2", expected="1", check=lambda version: None, reason="test")
        assert "version 2 of model 'plain' serves now" in process.stderr.readline()
        assert half_sent_when_it_is_told_to_end(address, process).endswith("}]}")
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    champion("1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_without_an_error_and_then_means_what_it_did(
    service: Service, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    asked: list[int] = []

    def interrupt_once_it_answers(address: str) -> None:
        def interrupt() -> None:
            asked.append(get(address, "/ping").status_code)
            os.kill(os.getpid(), number)

        Thread(target=interrupt).start()

    run(service, Settings("127.0.0.1", 0, 10), interrupt_once_it_answers)
    run(
        service, Settings("127.0.0.1", 0, 10), lambda address: signal.raise_signal(number)
    )  # before it listens to signals itself
    assert asked == [200]
    assert signal.getsignal(number) is before


def test_500_idle_connections_change_nothing_for_others(service: Service, address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for i in range(510):
            idle = stack.enter_context(socket.create_connection((host, int(port))))
            idle.sendall(b"" if i % 10 else b"POST /invocations HTTP/1.1\r\n")
        assert [get(address, path).status_code for path in ("/ping", "/ready", "/health")] == [200] * 3
        assert post(address, ROWS).status_code == 200


def test_a_server_with_a_certificate_speaks_tls(service: Service, tmp_path: Path) -> None:
    chain, key = self_signed(tmp_path)
    answers: list[int] = []

    def ask_and_end(address: str) -> None:
        def ask() -> None:
            trusted = ssl.create_default_context(cafile=str(chain))
            answers.append(httpx.get(f"{address}/ping", verify=trusted, trust_env=False).status_code)
            os.kill(os.getpid(), signal.SIGTERM)

        assert address.startswith("https://127.0.0.1:")
        Thread(target=ask).start()

    run(service, Settings("127.0.0.1", 0, 10, certificate=certificate_from(str(chain), str(key))), ask_and_end)
    assert answers == [200]


def test_what_is_no_certificate_with_its_key_is_one_line(tmp_path: Path) -> None:
    chain, key = self_signed(tmp_path)
    other = self_signed(tmp_path, "other-")[1]
    locked = tmp_path / "locked.pem"
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(private.private_bytes(pem, form, serialization.BestAvailableEncryption(b"secret")))
    for wrong, reason in ((other, "mismatch"), (tmp_path / "absent", "No such file"), (locked, "not be encrypted")):
        with pytest.raises(ServerError, match="TLS needs a certificate and its key in PEM") as caught:
            certificate_from(str(chain), str(wrong))
        assert reason in str(caught.value).replace("KEY_VALUES_MISMATCH", "mismatch")
        assert str(wrong) in str(caught.value)
    with pytest.raises(ServerError, match="TLS needs both a certificate and its key"):
        certificate_from(str(chain), None)
    assert certificate_from(None, None) is None


def self_signed(folder: Path, prefix: str = "") -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "som")])
    now, at = datetime.now(UTC), x509.IPAddress(ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([at]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{prefix}chain.pem").write_bytes(certificate.public_bytes(pem))
    (folder / f"{prefix}key.pem").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return folder / f"{prefix}chain.pem", folder / f"{prefix}key.pem"


def half_sent_when_it_is_told_to_end(address: str, process: Any) -> str:
    """The answer to a request whose second half is sent after Ctrl-C."""
    body = b'{"inputs": [[1.0, 2.0]]}'
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + body[:10])
        assert get(address, "/ping").status_code == 200  # by now the server has seen the first half
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        connection.sendall(body[10:])
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
