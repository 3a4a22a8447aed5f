//! What is inside packets of MQTT, FIX and protocol buffers, texts as JSON has them, and fields packed for others, beside Debian's haproxy.

use crate::http::server;
use crate::twins::Twins;

/// Encodes bytes as base64.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let chunk = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit = |place: usize| if place > chunk.len() { '=' } else { char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]) };
        [0, 1, 2, 3].map(digit).into_iter().collect::<String>()
    };
    bytes.chunks(3).map(chunk).collect()
}

/// Starts both on a site that answers with what expressions make of the bytes in a request.
fn twins(expressions: &[&str]) -> Twins {
    let shown: String = expressions.iter().map(|expression| format!("[%[req.hdr(x),b64dec,{expression}]]")).collect();
    Twins::start(&format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n log-format \"%ST %HM\"\n timeout client 30s\nfrontend f\n bind @DOOR@\n \
         http-request return status 200 content-type text/plain lf-string \"{shown}\"\n"
    ))
}

fn compare(twins: &Twins, packets: &[&[u8]]) -> Vec<String> {
    let ask = |packet: &&[u8]| {
        twins.compare(&format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\nConnection: close\r\n\r\n", base64(packet))).0.join("|")
    };
    packets.iter().map(ask).collect()
}

#[test]
fn packets_of_mqtt_are_read() {
    let twins = twins(&[
        "mqtt_is_valid",
        "mqtt_field_value(connect,protocol_name)",
        "mqtt_field_value(CONNECT,protocol_version)",
        "mqtt_field_value(1,flags)",
        "mqtt_field_value(connect,client_identifier)",
        "mqtt_field_value(connect,will_topic)",
        "mqtt_field_value(connect,will_payload)",
        "mqtt_field_value(connect,username)",
        "mqtt_field_value(connect,password)",
        "mqtt_field_value(connect,keepalive)",
        "mqtt_field_value(connect,17)",
        "mqtt_field_value(connect,33)",
        "mqtt_field_value(connack,flags)",
        "mqtt_field_value(2,reason_code)",
        "mqtt_field_value(connack,protocol_version)",
        "mqtt_field_value(connack,19)",
    ]);
    let said = compare(
        &twins,
        &[
            b"\x10\x1d\x00\x04MQTT\x04\xce\x00\x0a\x00\x02id\x00\x01t\x00\x03pay\x00\x01u\x00\x02pw",
            b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00",
            b"\x10\x17\x00\x04MQTT\x05\x02\x00\x3c\x08\x11\x00\x00\x00\x0a\x21\x00\x14\x00\x02ab",
            b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00",
            b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x3c\x00\x00",
            b"\x20\x02\x00\x00",
            b"\x20\x06\x01\x05\x03\x13\x00\x0a",
            b"\x30\x02\x00\x00",
            b"x",
        ],
    );
    assert!(said[0].contains("[1][MQTT][4][206][id][t][pay][u][pw][10]"), "{said:#?}");
}

#[test]
fn messages_of_fix_are_read() {
    let twins =
        twins(&["fix_is_valid", "fix_tag_value(35)", "fix_tag_value(BeginString)", "fix_tag_value(SenderCompID)", "fix_tag_value(98)"]);
    let message = |body: &str, length: usize| {
        let text = format!("8=FIX.4.4\x019={length}\x01{body}");
        let sum = text.bytes().fold(0_u8, u8::wrapping_add);
        format!("{text}10={sum:03}\x01").into_bytes()
    };
    let body = "35=A\x0149=me\x0156=you\x0198=0\x01";
    let whole = message(body, body.len());
    let other = message(body, body.len() + 1);
    let cut = &whole[..whole.len() - 4];
    let wrong = String::from_utf8(whole.clone()).unwrap().replace("me", "ma").into_bytes();
    let said = compare(&twins, &[&whole, &other, cut, &wrong, b"8=FIX.9.9\x01"]);
    assert!(said[0].contains("[1][A][FIX.4.4][me][0]"), "{said:#?}");
}

#[test]
fn messages_in_protocol_buffers_are_read() {
    let twins = twins(&[
        "protobuf(1,int32)",
        "protobuf(1,bool)",
        "protobuf(2,sint32)",
        "protobuf(3,int64)",
        "protobuf(4,fixed32)",
        "protobuf(4,sfixed32)",
        "protobuf(5,fixed64)",
        "protobuf(8),hex",
        "protobuf(8.1,uint32)",
        "ungrpc(1,int32)",
        "ungrpc(8.1,uint64)",
        "ungrpc(8),hex",
        "ungrpc(8),protobuf(1,enum)",
    ]);
    let message =
        b"\x08\x96\x01\x10\x03\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x25\xfe\xff\xff\xff\x29\x02\0\0\0\0\0\0\0\x42\x02\x08\x07";
    let framed = [&b"\0\0\0\0"[..], &[u8::try_from(message.len()).unwrap()], message].concat();
    let said = compare(&twins, &[message, &framed, &framed[..20]]);
    assert!(said[0].contains("[150][150][-2][-1]") && said[1].contains("[150][7][0807][7]"), "{said:#?}");
}

#[test]
fn texts_are_escaped_for_json() {
    let twins = twins(&["json", "json(ascii)", "json(utf8)", "json(utf8s)", "json(utf8p)", "json(utf8ps)"]);
    let texts: [&[u8]; 8] = [
        b"a\"b\\c/d\te\x01\x7f",
        b"caf\xc3\xa9",
        b"x\xe9y",
        b"\xf0\x9f\x98\x80!",
        b"\xc0\xafq",
        b"\xed\xa0\x80q",
        b"\xe2\x82\"",
        b"\xff\xfeq",
    ];
    let said = compare(&twins, &texts);
    assert!(said[1].contains("[caf\\u00c3\\u00a9]") && said[1].contains("[caf\\u00e9]"), "{said:#?}");
}

#[test]
fn numbers_and_packed_fields_are_told() {
    let (origin, _) = server(|_, _| {
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2000\r\nX-A: 1\r\n\r\n".to_owned() + &"x".repeat(2000)
    });
    let twins = Twins::start(&format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n log-format \"%ST %[res.comp] %[res.comp_algo] %[srv_id]\"\n timeout client 30s\n \
         timeout server 30s\n timeout connect 2s\nfrontend f\n bind @DOOR@\n compression algo gzip\n compression type text/html\n \
         http-request set-header X-Packed %[req.hdrs_bin,hex]\n default_backend b\nbackend b\n http-response set-header X-Meth \"%[meth] %[thread]\" \n \
         http-response set-header X-Server %[srv_id]\n http-response set-header X-Packed \"%[res.hdrs_bin,hex]\"\n server a 127.0.0.1:1 weight 0\n server b {}\n",
        origin.address()
    ));
    for fields in ["", "Accept-Encoding: gzip\r\n"] {
        for twin in [&twins.ours, &twins.theirs] {
            let (answer, line) = twin.ask(&format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n"));
            assert!(
                answer.contains(&"x-server:2".to_owned()) && answer.iter().any(|field| field.starts_with("x-packed:0C636F6E74656E742D")),
                "{answer:?}"
            );
            assert_eq!(line.trim_end(), if fields.is_empty() { "200 0 - 2" } else { "200 1 gzip 2" });
        }
    }
}
