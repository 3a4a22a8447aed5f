//! Converters, each beside Debian's haproxy on the same texts.

use crate::kit::{Daemon, Haproxy, unused_address};
use crate::rules::{Site, converse, mirror};

/// What reads the fields of the requests below; `A` is an arbitrary text.
const EXPRESSIONS: [&str; 57] = [
    "req.hdr(a),sha1,hex",
    "req.hdr(a),sha2,hex",
    "req.hdr(a),sha2(224),hex",
    "req.hdr(a),sha2(512),base64",
    "req.hdr(a),digest(sha256),hex",
    "req.hdr(a),digest(SHA384),hex",
    "req.hdr(a),digest(SHA-512),hex",
    "req.hdr(a),hmac(SHA2-256,c2VjcmV0),hex",
    "req.hdr(a),hmac(sha256,c2VjcmV0),hex",
    "req.hdr(a),hmac(sha1,txn.key),hex",
    "req.hdr(a),crc32",
    "req.hdr(a),crc32(1)",
    "req.hdr(a),crc32c",
    "req.hdr(a),crc32c(1)",
    "req.hdr(a),djb2",
    "req.hdr(a),djb2(1)",
    "req.hdr(a),sdbm",
    "req.hdr(a),sdbm(1)",
    "req.hdr(a),xxh32",
    "req.hdr(a),xxh32(7)",
    "req.hdr(a),xxh64",
    "req.hdr(a),xxh64(7)",
    "req.hdr(a),xxh3",
    "req.hdr(a),xxh3(7)",
    "req.hdr(a),strcmp(txn.key)",
    "req.hdr(a),secure_memcmp(txn.key)",
    "req.hdr(a),ub64enc",
    "req.hdr(a),ub64enc,ub64dec",
    "req.hdr(b64),ub64dec,hex",
    "req.hdr(a),cut_crlf",
    "req.hdr(x),hex2i",
    "req.hdr(x),hex2i,add(1)",
    "int(305419896),htonl,hex",
    "req.hdr(host),host_only",
    "req.hdr(host),port_only",
    "req.hdr(h2),host_only",
    "req.hdr(h2),port_only",
    "int(1700000000),utime(%Y-%m-%dT%H:%M:%S)",
    "int(1700000000),ltime(%d/%b/%Y)",
    "bin(01020304050607),be2dec(:,2)",
    "bin(01020304050607),be2dec(-,2,1)",
    "bin(7f000001),be2dec(.,1)",
    "bin(01020304050607),be2hex(:,2)",
    "bin(01020304050607),be2hex(:,2,1)",
    "req.hdr(json),json_query('$.name')",
    "req.hdr(json),json_query('$.n')",
    "req.hdr(json),json_query('$.n',int)",
    "req.hdr(json),json_query('$.yes')",
    "req.hdr(json),json_query('$.list[1]')",
    "req.hdr(json),json_query('$.deep.er')",
    "req.hdr(json),json_query('$.none')",
    "req.hdr(json),json_query('$.deep')",
    "req.hdr(jwt),jwt_header_query('$.alg')",
    "req.hdr(jwt),jwt_payload_query('$.sub')",
    "req.hdr(jwt),jwt_payload_query('$.admin')",
    "req.hdr(jwt),jwt_payload_query('$.iat','int')",
    "req.hdr(jwt),jwt_payload_query('$.none')",
];

#[test]
fn every_converter_says_what_haproxys_says() {
    let haproxy = Haproxy::find();
    let mut rules: Vec<String> = vec!["http-request set-var(txn.key) str(c2VjcmV0)".to_owned()];
    rules.extend(EXPRESSIONS.iter().enumerate().map(|(number, text)| {
        let text = text.replace('\'', "\"");
        format!("http-request set-header X-{number:02} '%[{text}]'")
    }));
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let site = Site { rules: &rules, ..Site::default() };
    let server = mirror("one");
    let addresses = [server.address(); 2];
    let (ours, theirs) = (unused_address(), unused_address());
    let _daemon = Daemon::start(&site.toml(ours, addresses));
    let _peer = haproxy.start(&site.cfg(theirs, addresses), theirs);
    let json = r#"{"name": "joe", "n": 42, "yes": true, "list": [1, "two", 3], "deep": {"er": "x"}, "null": null}"#;
    let jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiYWRtaW4iOnRydWUsImlhdCI6MTUxNjIzOTAyMn0.\
               KMUFsIDTnFmyG3nMiGM6H9FNFUROf3wh7SmqJp-QV30";
    let mut differing = Vec::new();
    for a in ["hello", "c2VjcmV0", "", "The quick brown fox jumps over the lazy dog, twice"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: h.example:8080\r\nH2: [::1]:99\r\nA: {a}\r\nX: 7fFF\r\nB64: SGVsbG8_-w\r\nJson: {json}\r\nJwt: {jwt}\r\n\r\n"
        );
        let (said, expected) = (converse(ours, &request), converse(theirs, &request));
        for (number, text) in EXPRESSIONS.iter().enumerate() {
            let name = format!("x-{number:02}:");
            let of = |lines: &[String]| lines.iter().find_map(|line| line.strip_prefix(&name).map(str::to_owned));
            if of(&said) != of(&expected) {
                differing.push(format!("{text} of {a:?}: {:?} and not {:?}", of(&said), of(&expected)));
            }
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}
