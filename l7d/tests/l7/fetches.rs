//! Sample fetches and converters about everything around a message, beside Debian's haproxy.

use crate::certs::Authority;
use crate::http::server;
use crate::kit::refusal;
use crate::twins::Twins;

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}Connection: close\r\n\r\n")
}

/// What rules ask of a request, each answer in a field of its own.
const ASKED: [&str; 13] = [
    "%[base32]|%[base,sdbm(1)]|%[url32]|%[baseq,sdbm(1)]",
    "%[base32+src,hex]|%[url32+src,hex]",
    "%[url_ip]|%[url_port]",
    "%[fe_client_timeout]|%[fe_defbe]|%[nbproc]|%[proc]|%[stopping]|%[src_is_local]|%[dst_is_local]|%[fc_http_major]",
    "%[avg_queue(b)]|%[be_conn_free(b)]|%[be_conn_free(free)]|%[connslots(b)]|%[connslots(free)]|%[srv_conn_free(b/s1)]|%[srv_conn_free(b/s2)]|%[srv_conn_free(free/s)]",
    "%[srv_is_up(b/s1)]|%[srv_is_up(b/down)]|%[srv_iweight(b/s2)]|%[srv_weight(b/s1)]|%[srv_weight(b/s2)]|%[srv_weight(b/down)]",
    "%[str(b),nbsrv]|%[str(free),nbsrv]|%[str(none),nbsrv]|%[str(b/s1),srv_queue]|%[str(none/s),srv_queue]",
    "%[str(a),add_item(-,txn.x)]|%[str(a),add_item(-,txn.x,.)]|%[str(a),add_item(-,,z)]|%[str(a),add_item(-,txn.none)]",
    "%[req.fhdr(accept-language),language(es;fr;en)]|%[req.fhdr(accept-language),language(es;fr;en,de)]|%[req.fhdr(accept-language),language(en-gb;de)]",
    "%[str(U2FsdA==),b64dec,hex]|%[str(5a20d46d3ea34b35a9e0),hex,length]",
    "%[var(txn.token),jwt_verify(HS256,secret)]|%[var(txn.token),jwt_verify(HS256,other)]|%[var(txn.token),jwt_verify(HS512,secret)]|%[var(txn.token),jwt_verify(txn.alg,secret)]",
    "%[var(txn.token),jwt_verify(txn.ps,secret)]|%[var(txn.token),jwt_verify(txn.x,secret)]|%[str(a.b),jwt_verify(HS256,secret)]|%[var(txn.signed),jwt_verify(RS256,@KEY@)]|%[var(txn.token),jwt_verify(RS256,@KEY@)]",
    "%[str(A4jazmC2o5LzKMK5cbL+eA==),b64dec,aes_gcm_dec(128,AAAAAAAAAAAAAAAA,AAAAAAAAAAAAAAAAAAAAAA==,q25H1CzsE731OmeyEle93w==),hex]|%[str(A4jazmC2o5LzKMK5cbL+eA==),b64dec,aes_gcm_dec(128,AAAAAAAAAAAAAAAA,AAAAAAAAAAAAAAAAAAAAAA==,AAAAAAAAAAAAAAAAAAAAAA==),hex]",
];

#[test]
fn rules_find_what_those_of_haproxy_find() {
    let authority = Authority::new();
    authority.openssl("genrsa -out token.key 2048");
    authority.openssl("rsa -in token.key -pubout -out token.pub");
    let key = authority.path("token.pub");
    let script = "h() { printf %s \"$1\" | base64 -w0 | tr '+/' '-_' | tr -d =; }; s() { base64 -w0 | tr '+/' '-_' | tr -d =; }; cd \"$1\"; \
                  a=$(h '{\"alg\":\"HS256\"}').$(h '{\"sub\":\"x\"}'); printf '%s.%s\\n' $a $(printf %s $a | openssl dgst -sha256 -hmac secret -binary | s); \
                  b=$(h '{\"alg\":\"RS256\"}').$(h '{\"sub\":\"x\"}'); printf '%s.%s\\n' $b $(printf %s $b | openssl dgst -sha256 -sign token.key -binary | s)";
    let directory = key.parent().unwrap();
    let output = std::process::Command::new("sh").args(["-c", script, "-"]).arg(directory).output().unwrap();
    let tokens = String::from_utf8(output.stdout).unwrap();
    let (token, signed) = tokens.trim().split_once('\n').unwrap();
    let rules: String =
        ASKED.iter().enumerate().map(|(number, asked)| format!(" http-request set-header X-{number} '{asked}'\n")).collect();
    let rules = rules.replace("@KEY@", &key.display().to_string());
    let (mirror, _) = server(|head, _| {
        let mut seen: Vec<String> =
            head.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-")).map(str::to_ascii_lowercase).collect();
        seen.sort();
        let seen = seen.join("\n");
        format!("HTTP/1.1 200 OK\r\nX-S: 1\r\nContent-Length: {}\r\n\r\n{seen}", seen.len())
    });
    let address = mirror.address();
    let config = format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n log-format \"%[srv_name] %[fe_defbe] %ST\"\n timeout client 31s\n \
         timeout server 32s\n timeout connect 2s\n timeout tunnel 33s\nfrontend f\n bind @DOOR@\n http-request set-var(txn.token) str({token})\n \
         http-request set-var(txn.signed) str({signed})\n http-request set-var(txn.alg) str(HS256)\n http-request set-var(txn.ps) str(PS256)\n \
         http-request set-var(txn.x) str(x)\n{rules} default_backend b\n\
         backend b\n balance first\n http-request set-timeout server 7s if {{ path /set }}\n http-request set-timeout tunnel 8s if {{ path /set }}\n \
         http-request set-header X-Now \"%[be_server_timeout]|%[be_tunnel_timeout]\"\n \
         http-request set-header X-All \"%[req.hdrs,length]\" if {{ path /none }}\n http-response set-header X-Name \"%[srv_name]|%[res.hdrs,length]|%[cur_server_timeout]|%[cur_tunnel_timeout]\"\n \
         http-request return status 200 content-type text/plain lf-string \"%[req.hdrs]\" if {{ path /fields }}\n \
         server s1 {address} maxconn 10 maxqueue 5 weight 7\n server s2 {address} maxconn 20 maxqueue 5 weight 3\n server down {address} disabled maxconn 30\n\
         backend free\n server s {address}\n"
    );
    let twins = Twins::start(&config);
    let languages = ["", "fr", "de, en;q=0.5, fr;q=0.8", "en-gb, es;q=0.9", "en;q=0.1, es;q=0", "xx, en-us;q=0.3"];
    for (path, language) in
        ["/", "/a/b?c=d", "/set", "http://10.1.2.3:81/x", "http://10.1.2.3/x"].into_iter().zip(languages.into_iter().cycle())
    {
        twins.compare(&get(path, &format!("Accept-Language: {language}\r\n")));
    }
    for language in languages {
        twins.compare(&get("/", &format!("Accept-Language: {language}\r\n")));
    }
}

#[test]
fn cookies_are_cut_where_haproxy_cuts_them() {
    let (server, _) = server(|head, _| {
        let asked = head.lines().find_map(|line| line.strip_prefix("X-Set: ").or(line.strip_prefix("x-set: "))).unwrap_or_default();
        format!("HTTP/1.1 200 OK\r\nSet-Cookie: {asked}\r\nContent-Length: 0\r\n\r\n")
    });
    let config = format!(
        "global\n log @LOG@ local0\ndefaults\n mode http\n log global\n log-format \"%ST %[var(txn.seen)]\"\n timeout client 30s\n timeout server 30s\n \
         timeout connect 2s\nlisten l\n bind @DOOR@\n \
         http-request set-var-fmt(txn.seen) \"%[req.cook(a)]|%[req.cook(b)]|%[req.cook_cnt(a)]\"\n \
         http-response set-header X-Seen \"%[res.cook(a)]|%[res.cook(b)]|%[res.cook_cnt(a)]\"\n server s {}\n",
        server.address()
    );
    let twins = Twins::start(&config);
    for cookies in ["a=1,2; b=3", "a=\"x,y\"; b=2", "b=\"q;a=1\"; a=2", "a=1, b=2", "a; a=2; =3; b", "a=1;a=2,a=3", "a=1; Path=/, b=5"] {
        twins.compare(&get("/", &format!("Cookie: {cookies}\r\nX-Set: {cookies}\r\n")));
    }
}

#[test]
fn arguments_that_do_not_fit_are_told() {
    for (asked, expected) in [
        ("%[str(a),jwt_verify(RS256,/no/such/file)]", "/no/such/file"),
        ("%[str(a),aes_gcm_dec(99,a,b,c)]", "is not 128, 192 or 256"),
        ("%[str(a),add_item(-)]", "a variable or a suffix"),
        ("%[srv_weight(b/none)]", "no server `b/none`"),
        ("%[str(a),wt6]", "is not supported: the function is not here"),
    ] {
        let site = format!(
            "[frontend.f]\nbind = \"127.0.0.1:1\"\ntimeout = {{ client = \"1s\" }}\nrules = ['http-request set-header A \"{asked}\"']\n"
        );
        let said = refusal(&site);
        assert!(said.contains(expected), "{asked}: {said}");
    }
}
