"""A client of HTTP/3 by aioquic: asks what it is told to, and says as JSON what came of it."""

import asyncio, json, ssl, sys
from urllib.parse import urlparse

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.logger import QuicLogger


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.answers = H3Connection(self._quic), {}

    def begin(self, method, path, body=b""):
        stream = self._quic.get_next_available_stream_id()
        head = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", path.encode())]
        if body:
            head.append((b"content-length", str(len(body)).encode()))
        self.http.send_headers(stream, head, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        done = asyncio.get_running_loop().create_future()
        self.answers[stream] = {"done": done, "head": {}, "length": 0, "sum": 0, "text": b""}
        self.transmit()
        return done

    def quic_event_received(self, event):
        for event in self.http.handle_event(event):
            answer = self.answers.get(event.stream_id)
            if answer is None:
                continue
            if isinstance(event, HeadersReceived):
                answer["head"].update((name.decode(), value.decode()) for name, value in event.headers)
            elif isinstance(event, DataReceived):
                answer["length"] += len(event.data)
                answer["sum"] = (answer["sum"] + sum(event.data)) % 1_000_000_007
                answer["text"] = (answer["text"] + event.data)[:200]
            if event.stream_ended and not answer["done"].done():
                answer["done"].set_result(answer)


def shown(answer):
    return {"head": answer["head"], "length": answer["length"], "sum": answer["sum"], "text": answer["text"].decode("latin-1")}


async def run(host, port, root, orders):
    log, tickets = QuicLogger(), []
    config = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="a.test", quic_logger=log, max_data=1 << 24, max_stream_data=1 << 22)
    config.load_verify_locations(root)
    said = []
    for number in range(2):
        async with connect(host, port, configuration=config, create_protocol=Client, session_ticket_handler=tickets.append) as client:
            if number == 0:
                for order in orders:
                    # All of an order are under way at the same time.
                    done = [client.begin(order["method"], order["path"], order.get("body", "x").encode() * order.get("times", 0)) for _ in range(order.get("count", 1))]
                    said.append([shown(answer) for answer in await asyncio.wait_for(asyncio.gather(*done), 30)])
            else:
                # The second time it comes back with its ticket.
                said.append([shown(await asyncio.wait_for(client.begin("GET", "/again"), 30))])
        config.session_ticket = tickets[-1] if tickets else None
    events = [event for trace in log.to_dict()["traces"] for event in trace["events"]]
    kinds = [event["data"].get("header", {}).get("packet_type") for event in events if event["name"] == "transport:packet_received"]
    early = [ticket.max_early_data_size for ticket in tickets]
    json.dump({"said": said, "retries": kinds.count("retry"), "early": early}, sys.stdout)


asyncio.run(run(sys.argv[1], int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])))
