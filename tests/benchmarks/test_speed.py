"""What measures speed: its command lines, its reports, what it counts, and what it says where something goes wrong."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import main as bench
from benchmarks.live import main as bench_live
from benchmarks.loop import main as bench_loop
from benchmarks.reads import CONTESTANTS, facts
from benchmarks.reads import main as bench_reads
from benchmarks.soak import Growth, request
from benchmarks.soak import main as bench_soak
from benchmarks.stand.command import carry_out, options
from benchmarks.stand.crowd import Listener
from benchmarks.stand.drawing import as_svg
from benchmarks.stand.errors import BenchError
from benchmarks.stand.load import measure, request_bytes
from benchmarks.stand.report import Row, as_json, number
from benchmarks.stand.stage import free_port, served

TIMES = "\N{MULTIPLICATION SIGN}"
ROWS = [
    Row("Q1", "Signoff", 1_500.0, "requests/s", {"p50_ms": 0.65}),
    Row("Q1", "PostGraphile 5", 1_000.0, "requests/s"),
    Row("Q1", "limit", 2_000.0, "requests/s"),
    Row("1 event to 1,000 listeners", "Signoff", 20.0, "ms", less_is_better=True),
    Row("1 event to 1,000 listeners", "graphql-ws", 50.0, "ms", less_is_better=True),
]


# ------------------------------------------------------------------------------------------------------- reports


def test_the_table_shows_how_ours_stands_to_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert carry_out(options(None), lambda _: ROWS, []) == 0

    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["Q1", "Signoff", "1,500", "requests/s", "", "p50_ms 0.650"] in lines
    assert ["", "PostGraphile 5", "1,000", "requests/s", "1.50", ""] in lines
    assert ["", "limit", "2,000", "requests/s", "0.75", ""] in lines
    # Of a time, less is better.
    assert ["", "graphql-ws", "50.0", "ms", "2.50", ""] in lines


def test_figures_are_kept_where_the_command_line_says(tmp_path: Path) -> None:
    files = [tmp_path / "figures.json", tmp_path / "figures.svg"]

    assert carry_out(options(None), lambda _: ROWS, ["--json", str(files[0]), "--svg", str(files[1])]) == 0

    kept = json.loads(files[0].read_text())
    assert kept == as_json(ROWS)
    assert [row["ours_to_it"] for row in kept] == [1.0, 1.5, 0.75, 1.0, 2.5]
    assert files[1].read_text() == as_svg(ROWS)


def test_the_drawing_has_a_bar_for_each_comparison() -> None:
    drawing = ET.fromstring(as_svg(ROWS))  # noqa: S314  (made above)
    name = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in drawing.iter(f"{name}text")]
    bars = [bar for bar in drawing.iter(f"{name}rect") if bar.get("class") != "page"]

    assert {
        "Q1",
        "PostGraphile 5",
        "limit",
        "graphql-ws",
        f"1.5{TIMES}",
        f"0.75{TIMES}",
        f"2.5{TIMES}",
        "1,500 requests/s",
    } <= {*texts}
    assert [bar.get("class") for bar in bars] == ["ahead", "limit", "ahead"]
    # The limit's bar ends where the others begin, at 1.
    starts = [float(bar.get("x", 0)) for bar in bars]
    assert starts[1] + float(bars[1].get("width", 0)) == pytest.approx(starts[0], abs=0.2)
    assert starts[0] == starts[2]


def test_what_has_nothing_to_be_compared_with_is_drawn_without() -> None:
    alone = [Row("Q1", "Signoff", 1.0, "requests/s"), Row("Q2", "limit", 0.0, "requests/s")]
    assert "Q1" not in as_svg(alone)
    assert [row["ours_to_it"] for row in as_json(alone)] == [1.0, None]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.03626, "0.0363"), (0.5, "0.500"), (97.84, "97.8"), (999.6, "1,000"), (12_345.6, "12,346"), (0.0, "0")],
)
def test_figures_have_three_digits_or_all_of_those_before_the_point(value: float, text: str) -> None:
    assert number(value) == text


# ---------------------------------------------------------------------------------------------------- command lines


def test_names_may_be_written_in_any_order_and_case() -> None:
    asked = options(None, CONTESTANTS).parse_args(["--only", "limit, postgraphile 5,SIGNOFF"])
    assert asked.only == ("Signoff", "PostGraphile 5", "limit")
    assert options(None, CONTESTANTS).parse_args([]).only == CONTESTANTS


@pytest.mark.parametrize(
    ("main", "arguments", "complaint"),
    [
        (
            bench_reads,
            ["--only", "UNKNOWN"],
            "there is no 'UNKNOWN'; there are: Signoff, PostGraphile 5, Ariadne, naive",
        ),
        (bench_loop, ["--only", "signoff,"], "there is no ''; there are: Signoff, DBOS, limit"),
        (bench_live, ["--only", "dbos"], "there is no 'dbos'; there are: Signoff, graphql-ws, limit"),
        (bench_live, ["--listeners", "0"], "0 is too few: at least 1"),
        (bench, ["--json", "/nowhere/figures.json"], "there is no folder /nowhere"),
        (bench, ["--svg", "/"], "/ is a folder, not a file"),
        (bench, ["reads"], "unrecognized arguments: reads"),
        (bench_soak, ["--requests", "some"], "argument --requests"),
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_starts(
    main: Callable[[Sequence[str]], int], arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_a_benchmark_that_is_not_there_is_told_from_those_that_are() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(root / "dev.py"), "bench", "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no bench nonsense; there are: crash, judge, live, loop, reads, scale, soak;" in done.stderr


def test_what_cannot_be_measured_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    def run(_asked: object) -> Sequence[Row]:
        raise BenchError("the machine is away")

    assert carry_out(options(None), run, []) == 1
    assert capsys.readouterr().err == "dev.py bench: the machine is away\n"


# --------------------------------------------------------------------------------------------- what goes wrong


def test_a_server_that_ends_is_named_with_what_it_said() -> None:
    command = [sys.executable, "-S", "-c", "import sys; sys.exit('no database')"]
    complaint = r"(?s)the peer, asked for its start: nobody listens.*status 1.*no database"
    with pytest.raises(BenchError, match=complaint), served("the peer", command, {}, free_port()):
        pass


@contextmanager
def answering(answer: bytes) -> Generator[int]:
    """A server of one connection, which gives one answer and closes it; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"", "closed the connection after 0 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "closed the connection after 42 bytes"),
        (b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n", "answered 'HTTP/1.1 503 Away"),
    ],
)
def test_an_answer_that_is_none_ends_the_measuring(answer: bytes, complaint: str) -> None:
    with answering(answer) as port, pytest.raises(BenchError, match=complaint):
        measure(port, request_bytes("/graphql", b"{}", {}), 1, 0.01)


# ------------------------------------------------------------------------------------------ what is counted


def frame(opcode: int, payload: bytes) -> bytes:
    length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + payload


def test_a_listener_counts_messages_however_they_arrive_and_answers_pings() -> None:
    sent = b"".join([frame(1, b"a" * 10), frame(9, b""), frame(1, b"b" * 126), frame(9, b"?"), frame(1, b"")])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        one = Listener(ours)
        count = 0
        for byte in sent:
            theirs.sendall(bytes([byte]))
            count += one.take(keep=False)
        theirs.sendall(sent)
        assert count == 3
        assert one.take(keep=True) == 3
        assert one.messages == [b"a" * 10, b"b" * 126, b""]
        pongs = theirs.recv(1 << 10)
        assert pongs == (bytes([0x8A, 0x80]) + bytes(4) + bytes([0x8A, 0x81]) + bytes(4) + b"?") * 2


@pytest.mark.parametrize("sent", [frame(8, b"\x0f\xa0bye"), frame(1, b'{"type":"error"}'), b""])
def test_a_listener_that_is_sent_away_says_so(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(sent)
        theirs.close()
        with pytest.raises(BenchError):
            Listener(ours).take(keep=False)


def test_the_same_data_is_the_same_in_every_servers_form() -> None:
    ours = {
        "id": "job_1",
        "status": "COMPLETED",
        "latestExecution": {"number": 1},
        "owner": {"id": "a", "displayName": "A"},
    }
    theirs = {
        "id": "job_1",
        "status": "completed",
        "executions": {"nodes": [{"number": 1}]},
        "ownerId": "a",
        "ownerName": "A",
    }

    def said(**data: Any) -> Any:
        return facts(json.dumps({"data": data}).encode())

    assert said(job=ours) == said(job=theirs)
    assert said(job=ours) != said(job={**theirs, "ownerName": "B"})
    assert said(at="2026-11-25T01:02:03.5Z", cursor="x") == said(at="2026-11-25T01:02:03+00:00", cursor="y")
    assert said(cursor="x") != said(cursor=None)
    assert said(payload={"a": [1]}) == said(payload='{"a": [1]}')
    with pytest.raises(BenchError, match="away"):
        facts(b'{"data": null, "errors": [{"message": "away"}]}')


def test_memory_that_rises_once_it_is_warm_is_growth() -> None:
    warming = [(number, 150_000_000 + number * 2_000) for number in range(0, 40_000, 1_000)]
    flat = Growth("requests", 100.0, [*warming, *((number, 230_000_000) for number in range(40_000, 100_000, 1_000))])
    growing = Growth("requests", 100.0, [(number, held + number * 150) for number, held in flat.samples])

    assert flat.is_flat
    assert str(flat).startswith("flat: 0 bytes for each of the requests")
    assert not growing.is_flat
    assert str(growing).startswith("GROWING: 150 bytes for each of the requests")


def test_no_two_requests_of_a_soak_are_alike_but_those_of_another_run_are_the_same() -> None:
    asked = [request(number, seed=1) for number in range(2_000)]
    bodies = [item.body for item in asked]

    assert bodies[:50] == [request(number, seed=1).body for number in range(50)]
    assert bodies[:50] != [request(number, seed=2).body for number in range(50)]
    assert len({(item.body, item.token, item.path) for item in asked}) > 1_400
    assert {item.method for item in asked} == {"GET", "POST"}
