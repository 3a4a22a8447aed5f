//! gRPC by the library of its makers, on both sides of the daemon: calls of every shape, metadata, failures, deadlines.

use std::process::{Command, Stdio};

use super::real::{PYTHON, Running, wait_until_served};
use super::site;
use crate::certs::Authority;
use crate::kit::{Daemon, unused_address};

const SERVER: &str = r#"
import grpc, sys, time
from concurrent import futures
def echo(request, context):
    context.send_initial_metadata((("x-first", dict(context.invocation_metadata())["x-asked"]),))
    context.set_trailing_metadata((("x-last", "bye"), ("x-bytes-bin", bytes(range(256)))))
    return request
def count(request, context):
    for number in range(int(request)):
        yield str(number).encode()
def total(requests, context):
    return str(sum(len(request) for request in requests)).encode()
def both(requests, context):
    for request in requests:
        yield request[::-1]
def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: \u00e4 %")
def sleep(request, context):
    while context.is_active():
        time.sleep(0.05)
    return b""
calls = {
    "echo": grpc.unary_unary_rpc_method_handler(echo), "count": grpc.unary_stream_rpc_method_handler(count),
    "total": grpc.stream_unary_rpc_method_handler(total), "both": grpc.stream_stream_rpc_method_handler(both),
    "fail": grpc.unary_unary_rpc_method_handler(fail), "sleep": grpc.unary_unary_rpc_method_handler(sleep),
}
server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", calls),))
server.add_insecure_port(sys.argv[1])
server.start()
server.wait_for_termination()
"#;

const CLIENT: &str = r#"
import grpc, os, sys
from concurrent import futures
options = [("grpc.max_receive_message_length", -1), ("grpc.ssl_target_name_override", "a.test")]
if len(sys.argv) > 2:
    channel = grpc.secure_channel(sys.argv[1], grpc.ssl_channel_credentials(open(sys.argv[2], "rb").read()), options)
else:
    channel = grpc.insecure_channel(sys.argv[1], options)
echo = channel.unary_unary("/t.T/echo")
for size in (0, 1, 16384, 3000000):
    message = os.urandom(size)
    answer, call = echo.with_call(message, metadata=(("x-asked", str(size)),), timeout=30)
    assert answer == message, size
    assert dict(call.initial_metadata())["x-first"] == str(size)
    last = dict(call.trailing_metadata())
    assert last["x-last"] == "bye" and last["x-bytes-bin"] == bytes(range(256)), last
assert [int(n) for n in channel.unary_stream("/t.T/count")(b"1000", timeout=30)] == list(range(1000))
assert channel.stream_unary("/t.T/total")((b"x" * 10000 for _ in range(300)), timeout=30) == b"3000000"
def questions(answers):
    for number in range(200):
        yield b"q%d" % number
        answers.append(number)
sent = []
for number, answer in enumerate(channel.stream_stream("/t.T/both")(questions(sent), timeout=30)):
    assert answer[::-1] == b"q%d" % number
assert number == 199
def code(name, **more):
    try:
        channel.unary_unary("/t.T/" + name)(b"", **more)
    except grpc.RpcError as error:
        return error.code(), error.details()
assert code("fail", timeout=30) == (grpc.StatusCode.FAILED_PRECONDITION, "no: \u00e4 %"), code("fail", timeout=30)
assert code("sleep", timeout=0.3)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
assert code("nothing", timeout=30)[0] == grpc.StatusCode.UNIMPLEMENTED
with futures.ThreadPoolExecutor(16) as pool:
    call = lambda number: echo(b"%d" % number, metadata=(("x-asked", "1"),), timeout=30)
    assert list(pool.map(call, range(400))) == [b"%d" % number for number in range(400)]
print("content")
"#;

#[test]
fn grpc_library_is_content_with_and_without_tls() {
    let (authority, back, clear, secure) = (Authority::new(), unused_address(), unused_address(), unused_address());
    let server = [SERVER.to_owned(), back.to_string()];
    let _server = Running(Command::new(PYTHON).arg("-c").args(server).stderr(Stdio::null()).spawn().unwrap());
    wait_until_served(back);
    let tls =
        format!("{{ address = \"{secure}\", tls = {{ certificates = \"{}\", alpn = [\"h2\"] }} }}", authority.pem(&["a.test"]).display());
    let config = site(clear, "", &[]).replace(&format!("bind = [\"{clear}\"]"), &format!("bind = [\"{clear}\", {tls}]"))
        + &format!("s1 = {{ address = \"{back}\", proto = \"h2\" }}\n");
    let _daemon = Daemon::start(&config);
    let root = authority.root().display().to_string();
    for arguments in [vec![clear.to_string()], vec![secure.to_string(), root]] {
        let output = Command::new("timeout").args(["100", PYTHON, "-c", CLIENT]).args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.stdout == b"content\n", "{arguments:?}: {}{said}", String::from_utf8_lossy(&output.stdout));
    }
}
